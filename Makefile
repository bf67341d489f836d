# Slipway's tasks. `make help` lists them; each line with ## is one.
# Needed: Go, git and make. `make tools` and `make setup` install the rest, and
# the targets that need it call them.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOBUILD := CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)'
FUZZTIME ?= 10s

export VERSION

.PHONY: help build demo test test-long bench lint fuzz fmt generate image image-builder dist tools setup clean

help: ## list these tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/slipway, a static program, and the three that it needs to build images
	$(GOBUILD) -o bin/slipway ./cmd/slipway
	hack/buildkitd.sh bin

demo: build ## the whole story: serve, build, test, publish, pull, run; as root
	hack/demo.sh

test: ## the whole suite: vet, unit tests with -race, conformance, clients, builds, crashes
	hack/test.sh

test-long: ## the whole suite with its long variants and longer fuzzing
	SLIPWAY_TEST_LONG=1 FUZZTIME=2m hack/test.sh

bench: build ## compare with other registries on this machine
	go run ./test/compare $(ARGS)

lint: ## golangci-lint
	hack/tools.sh golangci-lint
	.build/tools/golangci-lint run ./...

fuzz: ## run every fuzz target for FUZZTIME (10s)
	hack/fuzz.sh $(FUZZTIME)

fmt: ## format the code
	gofmt -l -w cmd examples internal test

generate: ## generate code from api/openapi.yaml and other sources
	go generate ./...

image: ## build the container image slipway, without any base image
	hack/image.sh

image-builder: ## build the container image slipway-builder, which also builds
	hack/image-builder.sh

dist: ## static programs and tarballs in dist/
	hack/dist.sh

tools: ## install the pinned Go programs that tests use into .build/tools
	hack/tools.sh

setup: tools ## also install the Debian packages that tests use, where missing
	hack/setup.sh tests

clean: ## remove everything that was built
	rm -rf bin dist .build
