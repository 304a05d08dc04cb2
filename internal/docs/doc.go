// Package docs holds no code: its tests compare what the documents say with what the tree has.
package docs
