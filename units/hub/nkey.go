package hub

import (
	"crypto/ed25519"
	"encoding/base32"
	"encoding/binary"
	"errors"
)

// An nkey is an ed25519 key in base32 with a prefix that names its kind, and a checksum:
// https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth and github.com/nats-io/nkeys.
const (
	nkeySeed = 18 << 3 // "S"
	nkeyUser = 20 << 3 // "U"
)

var base32nkey = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewNKey returns the seed and the public key of a new NATS user.
func NewNKey() (seed, public string, err error) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", "", err
	}
	return encodeNKey([]byte{nkeySeed | nkeyUser>>5, nkeyUser << 3 & 0xff}, key.Seed()), encodeNKey([]byte{nkeyUser}, pub), nil
}

// NKeyPublic returns the public key of the NATS user with this seed.
func NKeyPublic(seed string) (string, error) {
	raw, err := base32nkey.DecodeString(seed)
	if err != nil || len(raw) != 2+ed25519.SeedSize+2 || raw[0] != nkeySeed|nkeyUser>>5 || raw[1] != nkeyUser<<3&0xff ||
		crc16(raw[:len(raw)-2]) != binary.LittleEndian.Uint16(raw[len(raw)-2:]) {
		return "", errors.New("not the seed of a NATS user (SU…)")
	}
	key := ed25519.NewKeyFromSeed(raw[2 : 2+ed25519.SeedSize])
	return encodeNKey([]byte{nkeyUser}, key.Public().(ed25519.PublicKey)), nil
}

func encodeNKey(prefix, key []byte) string {
	raw := append(prefix, key...)
	return base32nkey.EncodeToString(binary.LittleEndian.AppendUint16(raw, crc16(raw)))
}

// crc16 is CRC-16/XMODEM.
func crc16(data []byte) (crc uint16) {
	for _, b := range data {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// IsNKeyPublic reports whether s is the public key of a NATS user.
func IsNKeyPublic(s string) bool {
	raw, err := base32nkey.DecodeString(s)
	return err == nil && len(raw) == 1+ed25519.PublicKeySize+2 && raw[0] == nkeyUser &&
		crc16(raw[:len(raw)-2]) == binary.LittleEndian.Uint16(raw[len(raw)-2:])
}
