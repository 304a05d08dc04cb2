package filetype

import "strings"

// PathOf returns the file that a file: URI names, as OpenSSL parses it:
// file:/key, file:///key or file://localhost/key (ossl_store-file(7)). For
// other URIs it returns an empty string.
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
