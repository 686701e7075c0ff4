// What Go's sumdb/note and sumdb/tlog say of our checkpoints and proofs: cases in JSON on standard input, one answer
// each, accepted or not, as a JSON list on standard output. It knows nothing of the product.
package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type testCase struct {
	Kind   string   `json:"kind"`
	Key    string   `json:"key"`
	Note   string   `json:"note"`
	Older  string   `json:"older"`
	Leaf   string   `json:"leaf"`
	Index  int64    `json:"index"`
	Hashes []string `json:"hashes"`
}

// A checkpoint's text has an origin of its own, which tlog.ParseTree does not read.
func open(text, key string) (tlog.Tree, error) {
	var tree tlog.Tree
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tree, errors.New("no checkpoint of this log")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tree, errors.New("no root")
	}
	copy(tree.Hash[:], root)
	return tree, nil
}

func hashes(texts []string) ([]tlog.Hash, error) {
	all := make([]tlog.Hash, len(texts))
	for i, text := range texts {
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != tlog.HashSize {
			return nil, errors.New("no hash")
		}
		copy(all[i][:], raw)
	}
	return all, nil
}

func check(c testCase) error {
	tree, err := open(c.Note, c.Key)
	if err != nil || c.Kind == "checkpoint" {
		return err
	}
	proof, err := hashes(c.Hashes)
	if err != nil {
		return err
	}
	if c.Kind == "inclusion" {
		leaf, err := hex.DecodeString(c.Leaf)
		if err != nil {
			return err
		}
		return tlog.CheckRecord(proof, tree.N, tree.Hash, c.Index, tlog.RecordHash(leaf))
	}
	older, err := open(c.Older, c.Key)
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, tree.N, tree.Hash, older.N, older.Hash)
}

func main() {
	var cases []testCase
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		log.Fatal(err)
	}
	accepted := make([]bool, len(cases))
	for i, c := range cases {
		accepted[i] = check(c) == nil
	}
	if err := json.NewEncoder(os.Stdout).Encode(accepted); err != nil {
		log.Fatal(err)
	}
}
