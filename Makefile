# Installs stackctl, and makes packages of it. `make` alone builds; PREFIX and DESTDIR are as everywhere.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
BUILT := $(or $(CARGO_TARGET_DIR),target)/release/stackctl
# An executable that is there already is installed as it is.
BINARY ?= $(BUILT)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

bin := $(DESTDIR)$(PREFIX)/bin
share := $(DESTDIR)$(PREFIX)/share
man := $(share)/man
bash := $(share)/bash-completion/completions
zsh := $(share)/zsh/site-functions
fish := $(share)/fish/vendor_completions.d

.PHONY: all install uninstall book check glibc musl wheel deb container
all: $(BUILT)

$(BUILT): Cargo.toml Cargo.lock $(shell find src docs/patterns.md -type f)
	$(CARGO) build --release --locked

# The program without debug symbols, its man pages, and completions of three shells.
install: $(BINARY)
	install -d $(bin) $(man)/man1 $(man)/man7 $(bash) $(zsh) $(fish)
	install -m 755 $(BINARY) $(bin)/stackctl
	strip $(bin)/stackctl
	install -m 644 man/*.1 $(man)/man1
	install -m 644 man/*.7 $(man)/man7
	$(BINARY) completions bash > $(bash)/stackctl
	$(BINARY) completions zsh > $(zsh)/_stackctl
	$(BINARY) completions fish > $(fish)/stackctl.fish

uninstall:
	rm -f $(bin)/stackctl $(man)/man1/stackctl*.1 $(man)/man7/stackctl*.7
	rm -f $(bash)/stackctl $(zsh)/_stackctl $(fish)/stackctl.fish

# The manual as a site, in target/book.
book:
	mdbook build docs

check:
	.ci/run

# Packages, all in target/packages; packaging/README.md says what each needs.
glibc musl wheel deb container:
	VERSION=$(VERSION) packaging/$@
