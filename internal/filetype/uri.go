package filetype

import "strings"

// PathOf is the file that a file: URI names as OpenSSL takes it: file:/key,
// file:///key or file://localhost/key. It is empty for all else
// (ossl_store-file(7)).
func PathOf(uri string) string {
	scheme, path, _ := strings.Cut(uri, ":")
	if !strings.EqualFold(scheme, "file") {
		return ""
	}
	if rest, ok := strings.CutPrefix(path, "//"); ok {
		host, file, _ := strings.Cut(rest, "/")
		if host != "" && !strings.EqualFold(host, "localhost") {
			return ""
		}
		path = "/" + file
	}
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	return path
}
