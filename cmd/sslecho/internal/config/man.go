package config

import (
	"bytes"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manual is the subcommand that prints the man page.
func manual() *cobra.Command {
	return &cobra.Command{
		Use: "man", Short: "Print the man page, for man -l -", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Without the subcommands, which have no pages of their own.
			page := bare((*setting).paragraph)
			page.Long, page.Example = description, examples
			var b bytes.Buffer
			header := &doc.GenManHeader{Section: "8", Source: "sslecho", Manual: "System administration"}
			if err := doc.GenMan(page, header, &b); err != nil {
				return err
			}
			_, err := io.WriteString(cmd.OutOrStdout(), dashes.ReplaceAllStringFunc(hanging.Replace(b.String()), escape))
			return err
		},
	}
}

// hanging makes each option a paragraph with a hanging tag, where cobra has a tab behind it.
var hanging = strings.NewReplacer(".PP\n\\fB-", ".TP\n\\fB-", "OPTIONS\n\\fB-", "OPTIONS\n.TP\n\\fB-", "\n\t", "\n")

// dashes are in what is to be typed as it stands, where roff would else make hyphens of them.
var dashes = regexp.MustCompile(`--[a-z-]+`)

func escape(flag string) string { return strings.ReplaceAll(flag, "-", `\-`) }

// paragraph is what the man page says of a flag.
func (s *setting) paragraph() string {
	text := s.usage + "."
	if s.repeat {
		text += " May be repeated."
	}
	if s.more != "" {
		text += " " + s.more
	}
	if !s.reload && !s.act {
		text += " A change needs a restart."
	}
	return text
}

const description = `**sslecho** accepts TLS connections and sends back what comes, or does what --service says with them. It is for tests of
TLS clients, proxies, load balancers and networks.

# CONFIGURATION

Each option may also be an environment variable, SSLECHO_ and its name in upper case with underscores, such as
SSLECHO_MAX_CONNS=100, or a key of the YAML file that --config names, such as loops: 4. An option wins over the
environment, the environment over the file, the file over the default; lists are replaced as a whole. In a variable the
elements of a list are joined by commas, those of SSLECHO_SNI by semicolons. A variable or a key that does not exist is an
error. --config, --check and --print-config cannot be in the file.

Times have a unit (500ms, 10s, 5m), sizes may have one (65536, 64KiB, 1GiB).

# SIGNALS

SIGTERM and SIGINT drain: nothing is accepted any more, what is queued is sent, each connection ends with close_notify
or after --drain-timeout; a second one ends at once. SIGHUP reloads the environment, the file and all files that they
name; it changes nothing if any of them has a fault, and what needs a restart stays as it was. SIGUSR2 starts the program
anew on the same sockets, for an upgrade.

# COMMANDS

**sslecho completion** with bash, zsh or fish prints a completion script, **sslecho man** this page, **sslecho version**
the versions of the program, of Go and of OpenSSL (--json: as JSON).

# EXIT STATUS

0 after a clean stop, 2 after wrong settings, 1 after any other failure.`

const examples = `sslecho --listen :8443 --cert chain.pem --key key.pem
sslecho --config /etc/sslecho.yaml --check
sslecho --print-config > sslecho.yaml`
