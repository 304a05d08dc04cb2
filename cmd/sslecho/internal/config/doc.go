// Package config reads the settings of sslecho.
//
//	settings (one table: name, group, kind, default, usage)
//	   │
//	   ├─► flags        --max-conns 100          ─┐
//	   ├─► environment  SSLECHO_MAX_CONNS=100     ├─► koanf ─► Config ─► Validate ─► the daemon
//	   ├─► file         max-conns: 100           ─┘    │
//	   └─► defaults     ──────────────────────────────┘
//	   │
//	   └─► --help, man page, completions, --print-config, Changes
//
// A flag wins over the environment, the environment over the file, the file over the default, and the whole value
// wins: lists are not joined. Each source gives texts, which are read in one place, so that a value means the same
// wherever it stands, and an error can say which flag, variable or key of which file it came from.
//
// # Lists
//
// A flag that may be repeated takes one element each time, so that an element may contain a comma. A variable has all
// elements, joined by commas; those of SSLECHO_SNI, which contain commas, are joined by semicolons. In the file
// a list is a list, or one element alone; sni may also be a map from names to files.
//
// # Secrets
//
// No setting holds a secret; some name a file that does. A key that is given in place of the name of its file is
// refused, and an error about such a setting does not repeat the value.
//
// # Reload
//
// [Config.Reload] reads the environment and the file again under the same flags. [Changes] tells what is different and
// what of it a running daemon can apply; [Merge] is the configuration that it then runs with. A file that is named by a
// setting may have changed though its name has not: Changes knows nothing of that.
package config
