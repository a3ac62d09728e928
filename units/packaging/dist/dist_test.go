package main

import (
	"os"
	"testing"
)

// TestCopyright holds the licence report against the modules that the programs are built from.
func TestCopyright(t *testing.T) {
	t.Chdir("../../..")
	want, err := licences(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("units/packaging/copyright")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error(`units/packaging/copyright is not up to date: go run ./units/packaging/dist -copyright >units/packaging/copyright`)
	}
}
