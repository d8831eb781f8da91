package subchannel

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
)

// OwnTLS is for both directions, and is made of what
// tests/fixtures/certificates.py wrote into a folder for the side of a name.
func OwnTLS(folder, name string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(
		filepath.Join(folder, name+".pem"), filepath.Join(folder, name+".key"))
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	return &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    trusted,
		RootCAs:      trusted,
		ServerName:   "localhost",
	}, nil
}
