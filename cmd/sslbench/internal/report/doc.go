// Package report makes something to read out of what sslbench compare has measured.
//
//	sslbench compare ──► Data ──► data.json ──Read──► Data
//	                      │
//	                      ├─ Point.Summary, Experiment.Ratio    medians, spreads, ratios
//	                      │
//	                      ├─ page: every table and sentence, formatted once
//	                      │    ├──► README.md
//	                      │    ├──► report.html   one file, pictures inside
//	                      │    └──► Text          for a terminal
//	                      └─ *.svg: one file for each plot
//
// What an experiment looks like follows from its Metric and its Axis: a CPU time
// gets a second plot with the ratio to the baseline, p99 gets p50 beside it,
// categories become bars. A new experiment needs no code here.
//
// Equal Data gives equal bytes: nothing in the files depends on when or where they
// were rendered, so rendering a report again shows no difference in git.
package report
