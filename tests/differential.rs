//! Our HTTP/1.1 against hyper's, on the same bytes: a moment of what the fuzz targets do for hours. The inputs are those
//! that the targets begin with, and the same changes of them each time.

#![allow(clippy::unwrap_used)]

#[path = "differential/mod.rs"]
mod comparisons;

use std::fs;
use std::path::{Path, PathBuf};

/// Inputs for each comparison.
const CASES: usize = 4000;

#[test]
fn an_upstreams_answer_is_read_as_hyper_reads_it_or_more_strictly() {
    replay("upstream_response", comparisons::upstream_response::compare);
}

#[test]
fn a_clients_requests_are_read_as_hyper_reads_them_or_more_strictly() {
    replay("request_head", comparisons::request_head::compare);
}

#[test]
fn a_token_is_read_as_jsonwebtoken_reads_it_or_more_strictly() {
    replay("token_decode", tollgate::auth::differential::token_decode);
}

fn replay(target: &str, compare: fn(&[u8])) {
    let seeds = seeds(target);
    let words = words();
    assert!(seeds.len() >= 8 && words.len() >= 30, "{} seeds, {} words", seeds.len(), words.len());
    seeds.iter().for_each(|seed| compare(seed));
    let mut chance = Chance(0x7011_6a7e);
    for _ in 0..CASES {
        let mut input = seeds[chance.below(seeds.len())].clone();
        for _ in 0..=chance.below(4) {
            change(&mut input, &seeds, &words, &mut chance);
        }
        compare(&input);
    }
}

/// Changes an input a little, as a fuzzer does.
fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[Vec<u8>], chance: &mut Chance) {
    let from = chance.below(input.len() + 1);
    let to = (from + chance.below(12)).min(input.len());
    match chance.below(6) {
        0 => {
            let word = words[chance.below(words.len())].iter().copied();
            input.splice(from..from, word);
        }
        1 => {
            let word = words[chance.below(words.len())].iter().copied();
            input.splice(from..to, word);
        }
        2 => drop(input.splice(from..to, [])),
        3 if from < input.len() => input[from] ^= 1 << chance.below(8),
        4 => {
            let piece = input[from..to].to_vec();
            input.splice(from..from, piece);
        }
        _ => {
            let other = &seeds[chance.below(seeds.len())];
            input.truncate(from);
            input.extend_from_slice(&other[chance.below(other.len())..]);
        }
    }
}

/// A linear congruence: the same numbers each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end.max(1)
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(folder().join("seeds").join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// What stands between quotes in the dictionary, with its escapes undone.
fn words() -> Vec<Vec<u8>> {
    let text = fs::read_to_string(folder().join("http.dict")).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'))
        .map(|word| {
            let (mut bytes, mut rest) = (Vec::new(), word.as_bytes());
            while let Some((byte, after)) = rest.split_first() {
                let length = match (byte, after.first()) {
                    (b'\\', Some(b'x')) => {
                        let digits = std::str::from_utf8(&after[1..3]).unwrap();
                        bytes.push(u8::from_str_radix(digits, 16).unwrap());
                        4
                    }
                    (b'\\', Some(escaped)) => {
                        bytes.push(*escaped);
                        2
                    }
                    _ => {
                        bytes.push(*byte);
                        1
                    }
                };
                rest = &rest[length..];
            }
            bytes
        })
        .collect()
}
