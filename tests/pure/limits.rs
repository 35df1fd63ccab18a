//! Files and functions of a size to read at once, and nothing left for later.

use crate::source::{Source, all, top};
use std::fs;

const FILE: usize = 400;
const FUNCTION: usize = 60;

fn long_files(sources: &[Source]) -> Vec<String> {
    let long = |source: &&Source| source.text.lines().count() > FILE;
    let line =
        |source: &Source| format!("{}: {} lines, at most {FILE}", source.path, source.text.lines().count());
    sources.iter().filter(long).map(line).collect()
}

fn long_functions(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        for (name, lines) in functions(&source.code()) {
            if lines > FUNCTION {
                wrong.push(format!("{}: {name} has {lines} lines, at most {FUNCTION}", source.path));
            }
        }
    }
    wrong
}

/// Each function with how many lines it is.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let before = code[..at].chars().last();
        let name: String =
            code[at + 3..].chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        if before.is_some_and(char::is_alphanumeric) || name.is_empty() {
            continue;
        }
        if let Some(end) = end_of(&code[at..]) {
            found.push((name, code[at..at + end].lines().count()));
        }
    }
    found
}

/// Where the body that begins here ends; nothing for a declaration.
fn end_of(code: &str) -> Option<usize> {
    let (mut braces, mut others) = (0, 0);
    for (at, letter) in code.char_indices() {
        match letter {
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            ';' if braces == 0 && others == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Macros and words that leave something for later, in halves: this file is looked at as well.
fn marks() -> ([String; 3], [String; 3]) {
    let whole = |halves: [&str; 2]| halves.concat();
    let macros = [["to", "do!"], ["unimple", "mented!"], ["db", "g!"]];
    let words = [["FIX", "ME"], ["TO", "DO"], ["XX", "X"]];
    (macros.map(whole), words.map(whole))
}

fn left_for_later(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        let code = source.code();
        let (macros, words) = marks();
        let macros = macros.into_iter().filter(|word| code.contains(word.as_str()));
        let words = words.into_iter().filter(|word| source.text.contains(word.as_str()));
        wrong.extend(macros.chain(words).map(|word| format!("{}: {word}", source.path)));
    }
    wrong
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn everything() -> Vec<Source> {
    let mut sources = all("src");
    sources.extend(all("tests"));
    sources
}

#[test]
fn files_are_short() {
    none(&long_files(&everything()));
    let planted = Source::planted("src/a.rs", &"\n".repeat(FILE + 1));
    assert_eq!(long_files(&planted), ["src/a.rs: 401 lines, at most 400"]);
    none(&long_files(&Source::planted("src/a.rs", &"\n".repeat(FILE))));
}

#[test]
fn functions_are_short() {
    none(&long_functions(&everything()));
    let function =
        |lines: usize| format!("fn f(x: [u8; 2]) -> u8 {{\n{}}}\n", "if a { b }\n".repeat(lines - 2));
    let planted = Source::planted("src/a.rs", &format!("trait T {{ fn g(); }}\n{}", function(FUNCTION + 1)));
    assert_eq!(long_functions(&planted), ["src/a.rs: f has 61 lines, at most 60"]);
    none(&long_functions(&Source::planted("src/a.rs", &function(FUNCTION))));
}

#[test]
fn nothing_is_left_for_later() {
    none(&left_for_later(&everything()));
    let (macros, words) = marks();
    for name in &macros {
        let planted = format!("fn f() {{ {name}(x) }}");
        assert_eq!(left_for_later(&Source::planted("src/a.rs", &planted)).len(), 1, "{planted}");
        none(&left_for_later(&Source::planted("src/a.rs", &format!("// no {name} here"))));
    }
    for word in words {
        let planted = format!("// {word}: later");
        assert_eq!(left_for_later(&Source::planted("src/a.rs", &planted)).len(), 1, "{planted}");
    }
}

/// Everything in `tests` and `benches` is built: `autotests` is off, so a program that Cargo.toml does not name would never run.
#[test]
fn every_test_program_is_named() {
    let manifest = fs::read_to_string(top().join("Cargo.toml")).expect("Cargo.toml");
    for entry in fs::read_dir(top().join("tests")).expect("tests") {
        let path = entry.expect("an entry").path();
        let main = path.join("main.rs");
        let name = format!("tests/{}/main.rs", path.file_name().unwrap_or_default().to_string_lossy());
        assert!(
            !main.exists() || manifest.contains(&format!("path = \"{name}\"")),
            "{name} is not in Cargo.toml"
        );
    }
}
