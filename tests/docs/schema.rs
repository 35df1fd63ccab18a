//! The JSON Schema of profiles: the same keys, types, words and defaults as the parser has, and the same verdicts.

use super::checker::Checker;
use super::keys::{WORDS, defaults, has_level, key_refused, schema_keys};
use super::mistakes::MISTAKES;
use super::*;
use serde_json::Value;
use std::collections::BTreeMap;

const FILE: &str = "packaging/sbx-profile.schema.json";

/// Strings of every kind that some key takes, and some beside each.
const STRINGS: &str = r#"
"" "x" "-x" "--x" "-" "a b" "a\nb" "a\u0000b" "\u00e9" "-a" "a_b" "a-b.c" ".a"
"/" "/a" "-/a" "/a/b c" "/a//b" "/a/./b" "/a/.b" "/a/..b" "/..." "/a/" "a/b" "a/../b" "./a" ".." ".git/hooks" "-.git/hooks" "a//b"
"~/x" "${HOME}" "${HOME}/x" "-${HOME}/x" "${UID}" "/x/${UID}" "${NOPE}/x" "/x/${HOME" "$" "/a$b" "/a$$b" "/$${HOME}" "/$${NOPE}" "/a\u0000b"
"host" "empty" "image:x" "image:" "image:a b" "tmpfs" "none" "layer:x" "layer:-x" "layer:.x" "layer:" "optional" "true" "signal" "-signal"
"0" "512" "512M" "1.5G" "1.5" "1.0" "2GiB" "2GB" "1.G" "iB" "B" "G" "3 MB" "10X" "1e9" "1.1234567G" "90" "1h30m" "250ms" "5min" "-30s" "--30s" "5 minutes" "h" "1h30" "1.5h"
"org.example.X" "org.example" "a..b.c" "A" "A=B" "=" "LC_*" "-LC_*" "*" "-*" "A*B" "CAP_NET_ADMIN" "-CAP_NET_ADMIN" "CAP_NOPE"
"0-3,6" "3-" "-3" "0,,1" "idle" "best-effort" "best-effort:7" "best-effort:8" "realtime" "4M" "3.9M" "4095K" "4096K" "4194303" "4194304" "0.5G" "0G" "0.0K"
"@debug" "-@debug" "*.example.org" "git.example.org:22" "8080" "base-cli" "Base" "/etc/x.toml" "sub/x"
"#;

/// Values that are no strings.
const OTHERS: &[&str] =
    &["0", "1", "-1", "4096", "1.5", "0.0", "-1.5", "inf", "nan", "true", "false", "[]", "{}", "[[]]"];

fn schema() -> Value {
    read(FILE).parse().expect("it is JSON")
}

/// The value that TOML writes as this.
fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        // What JSON has no number for is no number there.
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(truth) => (*truth).into(),
        toml::Value::Datetime(time) => panic!("{time} has no place here"),
        toml::Value::Array(list) => list.iter().map(json).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
    }
}

fn parsed(text: &str) -> Value {
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    json(&toml::Value::Table(table))
}

/// Whether an error is about the shape of a file, and not about what other files say or what two keys do together.
fn is_of_shape(error: &ProfileError) -> bool {
    matches!(
        error,
        ProfileError::Value { .. }
            | ProfileError::UnknownKey { .. }
            | ProfileError::Schema { .. }
            | ProfileError::NoSchema { .. }
            | ProfileError::InvalidName { .. }
    )
}

fn file_verdict(text: &str) -> Result<(), ProfileError> {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("sbx-schema-{}-{number}.toml", std::process::id()));
    std::fs::write(&file, text).expect("a file can be written");
    let checked = load::check(&file, &search(), nix::unistd::getuid().as_raw());
    std::fs::remove_file(&file).expect("the file is there");
    checked.map(|_| ())
}

/// Each key with what the schema says of it.
fn leaves(prefix: &str, table: &Value, found: &mut BTreeMap<String, Value>) {
    for (name, schema) in table["properties"].as_object().expect("a table has properties") {
        let key = format!("{prefix}{name}");
        match schema.get("properties") {
            Some(_) => leaves(&format!("{key}."), schema, found),
            None => _ = found.insert(key, schema.clone()),
        }
    }
}

fn all_leaves() -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    leaves("", &schema(), &mut found);
    found
}

#[test]
fn keys_words_and_defaults() {
    let leaves = all_leaves();
    let defaults: BTreeMap<&str, String> = defaults().into_iter().collect();
    assert_eq!(
        leaves.keys().cloned().collect::<BTreeSet<_>>(),
        schema_keys(""),
        "schema (left), parser (right)"
    );
    for (key, leaf) in &leaves {
        let text = leaf["description"].as_str().unwrap_or_else(|| panic!("{key} is not described"));
        if let Some(refused) = key_refused(key) {
            check_marked(key, text, refused);
        }
        let default = leaf.get("default").map(|default| match default {
            Value::String(text) => text.clone(),
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            Value::Object(map) if map.is_empty() => String::new(),
            other => other.to_string(),
        });
        let is_list = leaf.get("type").is_some_and(|kind| kind == "array" || kind == "object");
        let expected = defaults.get(key.as_str()).cloned().or(is_list.then(String::new));
        assert_eq!(default, expected, "the default of {key} in the schema (left) and in the program (right)");
    }
    for (key, words) in WORDS {
        let leaf = &leaves[*key];
        let found: Vec<&str> = match leaf.get("enum") {
            Some(words) => words.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
            // Of a list, the entries; those that remove one are the same once more.
            None => {
                let name = leaf["items"]["$ref"].as_str().and_then(|name| name.rsplit('/').next());
                let entries = &schema()["definitions"][name.expect("a list of words")]["enum"];
                let entries: BTreeSet<String> = entries
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|word| word.as_str().map(str::to_owned))
                    .collect();
                let both = words.iter().flat_map(|word| [(*word).to_owned(), format!("-{word}")]);
                assert_eq!(entries, both.collect(), "{key}");
                words.to_vec()
            }
        };
        assert_eq!(found, *words, "words of {key} in the schema (left) and in the program (right)");
    }
}

#[test]
fn capabilities() {
    let schema = schema();
    let names = schema["definitions"]["capability-edit"]["enum"].as_array().expect("words").iter();
    let known = caps::all().into_iter().flat_map(|name| [name.to_string(), format!("-{name}")]);
    assert_eq!(set(names.filter_map(Value::as_str)), known.collect(), "schema (left), program (right)");
}

/// A key with a value, as `--set` takes it: in a table, so that it is never taken for plain text.
fn setting(key: &str, value: &str) -> String {
    let (table, rest) = key.split_once('.').expect("it is in a table");
    match rest.split_once('.') {
        Some((inner, name)) => format!("{table}={{{inner}={{{name}={value}}}}}"),
        None => format!("{table}={{{rest}={value}}}"),
    }
}

/// Values of one kind and another, alone, in a list and in a table.
fn values_for(key: &str) -> Vec<String> {
    let strings = STRINGS.split_inclusive('"').collect::<Vec<_>>();
    let strings = strings.chunks(2).filter_map(|pair| Some(format!("\"{}", pair.get(1)?)));
    let mut values: Vec<String> = strings.chain(OTHERS.iter().map(|&value| value.to_owned())).collect();
    let has_tables =
        ["read", "write", "tmpfs", "overlay"].iter().any(|name| key == format!("filesystem.{name}"));
    let inside = |value: &String| {
        let mut forms = vec![format!("[{value}]"), format!("{{ x = {value} }}")];
        if has_tables {
            forms.push(format!("[{{ path = {value} }}]"));
            for name in ["dest", "optional", "size", "layer", "no-such-key"] {
                forms.push(format!("[{{ path = '/ok', {name} = {value} }}]"));
            }
        }
        forms
    };
    let mut forms: Vec<String> = values.iter().flat_map(inside).collect();
    if has_level(key) {
        let good = KEYS.iter().find(|(known, _)| *known == key).map_or("", |(_, values)| values[0]);
        let is_toml = |text: &String| format!("x = {text}").parse::<toml::Table>().is_ok();
        for good in [good.to_owned(), format!("'{good}'")].iter().filter(|good| is_toml(good)) {
            let words = Level::WORDS.iter().chain(&["no-such-word"]);
            forms.extend(words.map(|word| format!("{{ value = {good}, level = '{word}' }}")));
        }
        forms.extend(values.iter().map(|value| format!("{{ value = {value} }}")));
        forms.extend(["{ level = 'off' }", "{ value = 1, no-such-key = 1 }"].map(str::to_owned));
    }
    if key == "limits.io" {
        for name in ["read", "write", "read-operations", "write-operations", "level", "no-such-key"] {
            forms.extend(values.iter().map(|value| format!("[{{ path = '/ok', {name} = {value} }}]")));
        }
        forms.extend(["[{ path = '/ok', level = 'off' }]", "[{ read = 1 }]"].map(str::to_owned));
        forms.extend(values.iter().map(|value| format!("[{{ path = {value} }}]")));
    }
    values.extend(forms);
    values.extend(["{ 'A=B' = 'x' }", "{ '' = 'x' }", "[{ dest = '/a' }]"].map(str::to_owned));
    values
}

#[test]
fn the_same_verdicts() {
    let checker = Checker::new(schema());
    let (mut taken, mut refused) = (0, 0);
    let mut wrong = Vec::new();
    for key in schema_keys("") {
        for value in values_for(&key) {
            let (text, verdict) = if key.contains('.') {
                let setting = setting(&key, &value);
                let verdict =
                    load::load(&["offline".into()], std::slice::from_ref(&setting), &search(), 0).map(|_| ());
                (format!("schema=1\n{setting}"), verdict)
            } else {
                let first = if key == "schema" { "" } else { "schema=1\n" };
                let text = format!("{first}{key}={value}");
                (text.clone(), file_verdict(&text))
            };
            let parser = verdict.as_ref().err().is_none_or(|error| !is_of_shape(error));
            let schema = checker.check(&parsed(&text));
            *(if parser { &mut taken } else { &mut refused }) += 1;
            if parser != schema.is_ok() {
                wrong.push(format!("{text:?}: the parser says {verdict:?}, the schema {schema:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
    assert!(taken > 1000 && refused > 10_000, "{taken} taken, {refused} refused");
}

#[test]
fn shipped_profiles() {
    let checker = Checker::new(schema());
    let mut count = 0;
    for entry in std::fs::read_dir(source_dir().join("profiles")).expect("profiles") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("it can be read");
        checker.check(&parsed(&text)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        count += 1;
    }
    assert_eq!(count, load::list(&search(), 0).len(), "profiles");
}

#[test]
fn mistakes() {
    let checker = Checker::new(schema());
    let mut of_shape = 0;
    for (mistake, ..) in MISTAKES {
        let text = format!("schema = 1\n{mistake}\n");
        let shape = file_verdict(&text).is_err_and(|error| is_of_shape(&error));
        assert_eq!(checker.check(&parsed(&text)).is_err(), shape, "{text}");
        of_shape += u32::from(shape);
    }
    assert!(of_shape > 20, "{of_shape}");
    for text in ["", "description = 'x'", "schema = 2", "schema = '1'"] {
        assert!(checker.check(&parsed(text)).is_err() && file_verdict(text).is_err(), "{text}");
    }
}

#[test]
fn printed() {
    let words = ["profiles", "--schema"].map(OsString::from);
    assert_eq!(cli::parse(&words).expect("it can be printed"), Action::Print(read(FILE)));
}
