//go:build tools

// Package tools keeps programs of others, go-plugin's own examples and h2spec, in
// go.mod and go.sum, so that the tests can build them from within this module.
package tools

import (
	_ "github.com/hashicorp/go-plugin/examples/grpc"
	_ "github.com/hashicorp/go-plugin/examples/grpc/plugin-go-grpc"
	_ "github.com/hashicorp/go-plugin/examples/negotiated"
	_ "github.com/hashicorp/go-plugin/examples/negotiated/plugin-go"
	_ "github.com/summerwind/h2spec/cmd/h2spec"
)
