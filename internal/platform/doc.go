// Package platform builds only where package cssl does. Elsewhere it fails with
// one error that says what is needed, and the packages that import it are not
// compiled, so that no other error hides this one. A package that uses cgo or
// what only Linux has imports it, unless it imports one that does.
package platform
