// Package packaging holds what is needed to install bailiff: the list of files (files), the installer that reads it
// (install.sh), and what the packages are built from. It has tests and programs only; start with files.
package packaging
