// Package platform builds only where package cssl does. Elsewhere its compile
// error says what is needed. Packages that import it are then not compiled, so
// there is no other error. Each package that uses cgo or Linux-only features
// imports it, directly or through another package.
package platform
