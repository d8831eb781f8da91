package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"
)

// serveTCP listens on TCP, as plugin.Serve does on Windows alone. The server's
// logger cannot be set from here, and is used when Stdout or Stderr ends: they
// are pipes that nobody closes.
func serveTCP(plugins plugin.PluginSet, versions []int, ipv6 bool) error {
	if os.Getenv(shared.Handshake.MagicCookieKey) != shared.Handshake.MagicCookieValue {
		return errors.New("started by hand: no magic cookie")
	}
	config, announced, err := autoMTLS(os.Getenv("PLUGIN_CLIENT_CERT"))
	if err != nil {
		return err
	}
	stdout, stdoutWriter, err := os.Pipe()
	if err != nil {
		return err
	}
	stderr, stderrWriter, err := os.Pipe()
	if err != nil {
		return err
	}

	server := &plugin.GRPCServer{
		Plugins: plugins,
		Server:  plugin.DefaultGRPCServer,
		TLS:     config,
		DoneCh:  make(chan struct{}),
		Stdout:  stdout,
		Stderr:  stderr,
	}
	if err := server.Init(); err != nil {
		return err
	}

	address := "127.0.0.1:0"
	if ipv6 {
		address = "[::1]:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	line := fmt.Sprintf("%d|%d|tcp|%s|grpc|%s", plugin.CoreProtocolVersion,
		negotiate(versions), listener.Addr(), base64.RawStdEncoding.EncodeToString(announced))
	if os.Getenv("PLUGIN_MULTIPLEX_GRPC") != "" {
		line += "|false"
	}
	if _, err := fmt.Println(line); err != nil {
		return err
	}

	// Ctrl-C reaches the plugin too, and its host is to decide when it ends.
	signal.Ignore(os.Interrupt)
	os.Stdout, os.Stderr = stdoutWriter, stderrWriter
	server.Serve(listener)
	return nil
}

// negotiate picks the highest of the sorted versions that the host has too.
func negotiate(versions []int) int {
	if versions == nil {
		return int(shared.Handshake.ProtocolVersion)
	}
	offered := strings.Split(os.Getenv("PLUGIN_PROTOCOL_VERSIONS"), ",")
	for _, version := range slices.Backward(versions) {
		if slices.Contains(offered, fmt.Sprint(version)) {
			return version
		}
	}
	return versions[0]
}

// autoMTLS gives the TLS to serve with and the certificate to announce, which
// KV_WRONG_CERT makes two different ones.
func autoMTLS(hostPEM string) (*tls.Config, []byte, error) {
	if hostPEM == "" {
		return nil, nil, nil
	}
	host := x509.NewCertPool()
	if !host.AppendCertsFromPEM([]byte(hostPEM)) {
		return nil, nil, errors.New("no certificate in PLUGIN_CLIENT_CERT")
	}
	name := "localhost"
	if os.Getenv("KV_WRONG_HOST") != "" {
		name = "example.invalid"
	}
	announced, err := selfSigned(name)
	if err != nil {
		return nil, nil, err
	}
	served := announced
	if os.Getenv("KV_WRONG_CERT") != "" {
		if served, err = selfSigned(name); err != nil {
			return nil, nil, err
		}
	}

	// The broker dials with the same configuration, as a client of the host.
	return &tls.Config{
		Certificates: []tls.Certificate{served},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    host,
		RootCAs:      host,
		ServerName:   "localhost",
		MinVersion:   tls.VersionTLS12,
	}, announced.Certificate[0], nil
}

func selfSigned(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	certificate := x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: []string{"HashiCorp"}},
		DNSNames:              []string{name},
		NotBefore:             now.Add(-30 * time.Second),
		NotAfter:              now.Add(24 * time.Hour),
		BasicConstraintsValid: true,
		IsCA:                  true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment |
			x509.KeyUsageKeyAgreement | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &certificate, &certificate, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
