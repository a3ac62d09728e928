package hub

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// certLife is how long certificates are valid: as long as a hub is likely to live. There is no revocation list, since nobody would fetch
// it: after a key theft, the authority is replaced (bailiff fleet rotate).
const certLife = 10 * 365 * 24 * time.Hour

// Authority signs the certificates of the hub's servers. Hosts trust no other.
type Authority struct {
	PEM []byte // its certificate

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes the CA of a fleet, and its private key in PEM form.
func NewAuthority(fleet string, now time.Time) (*Authority, []byte, error) {
	t, key, err := certTemplate("bailiff fleet "+fleet, now)
	if err != nil {
		return nil, nil, err
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	cert, err := signCert(t, t, key, key)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, nil, err
	}
	a, err := ReadAuthority(cert, keyPEM)
	return a, keyPEM, err
}

// ReadAuthority reads what NewAuthority has made.
func ReadAuthority(cert, key []byte) (*Authority, error) {
	c, err := decodeCert(cert)
	if err != nil {
		return nil, err
	}
	b, _ := pem.Decode(key)
	if b == nil {
		return nil, errors.New("the key of the CA is not PEM")
	}
	k, err := x509.ParseECPrivateKey(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the key of the CA: %w", err)
	}
	if !k.PublicKey.Equal(c.PublicKey) {
		return nil, errors.New("the key and the certificate of the CA do not belong together")
	}
	return &Authority{cert, c, k}, nil
}

// Server makes key and certificate of a server, in PEM form, which other servers of the hub accept as a client, too.
func (a *Authority) Server(s Server, now time.Time) (cert, key []byte, err error) {
	t, k, err := certTemplate(s.Host, now)
	if err != nil {
		return nil, nil, err
	}
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	t.DNSNames = []string{"localhost"}
	t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if ip := net.ParseIP(s.Host); ip != nil {
		t.IPAddresses = append(t.IPAddresses, ip)
	} else {
		t.DNSNames = append(t.DNSNames, s.Host)
	}
	if cert, err = signCert(t, a.cert, k, a.key); err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(k)
	return cert, key, err
}

// Good reports whether this CA has signed a certificate for a server that is valid for at least half of its life.
func (a *Authority) Good(cert []byte, s Server, now time.Time) bool {
	c, err := decodeCert(cert)
	return err == nil && c.CheckSignatureFrom(a.cert) == nil && c.VerifyHostname(s.Host) == nil && now.After(c.NotBefore) && c.NotAfter.Sub(now) > certLife/2
}

func certTemplate(name string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if len(name) > 64 { // the most that a common name may have; servers are known by the other names
		name = name[:64]
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(certLife), // clocks differ
	}, key, err
}

func signCert(t, parent *x509.Certificate, key, by *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, by)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func encodeKey(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func decodeCert(data []byte) (*x509.Certificate, error) {
	b, _ := pem.Decode(data)
	if b == nil || b.Type != "CERTIFICATE" {
		return nil, errors.New("not a certificate in PEM form")
	}
	return x509.ParseCertificate(b.Bytes)
}
