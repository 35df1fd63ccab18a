//! A checker for JSON Schemas: the keywords that the schema of profiles uses, and a failure for any other.

use regex_lite::Regex;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::HashMap;

/// What explains and does not restrict.
const ANNOTATIONS: &[&str] = &["$schema", "title", "description", "default", "definitions"];

/// A schema, with the patterns that were needed so far.
pub(super) struct Checker {
    root: Value,
    patterns: RefCell<HashMap<String, Regex>>,
}

impl Checker {
    pub(super) fn new(root: Value) -> Self {
        Self { root, patterns: RefCell::default() }
    }

    /// What is wrong with a value: nothing, or the first thing found.
    pub(super) fn check(&self, value: &Value) -> Result<(), String> {
        self.against(value, &self.root)
    }

    fn against(&self, value: &Value, schema: &Value) -> Result<(), String> {
        let rules = schema.as_object().unwrap_or_else(|| panic!("{schema} is not a schema"));
        if let Some(target) = rules.get("$ref") {
            // In the drafts that editors know, nothing beside a reference counts.
            assert_eq!(rules.len(), 1, "{schema} has something beside its reference");
            return self.against(value, self.definition(target));
        }
        for (keyword, rule) in rules {
            let holds = self.holds(keyword, rule, value, rules)?;
            if !holds {
                return Err(format!("{value} is against {keyword}: {rule}"));
            }
        }
        Ok(())
    }

    fn definition(&self, target: &Value) -> &Value {
        let pointer = target.as_str().and_then(|target| target.strip_prefix('#'));
        let found = pointer.and_then(|pointer| self.root.pointer(pointer));
        found.unwrap_or_else(|| panic!("there is no {target}"))
    }

    fn holds(
        &self,
        keyword: &str,
        rule: &Value,
        value: &Value,
        rules: &Map<String, Value>,
    ) -> Result<bool, String> {
        let fits = |schema: &Value| self.against(value, schema).is_ok();
        let schemas = || rule.as_array().unwrap_or_else(|| panic!("{keyword}: {rule}")).iter();
        Ok(match keyword {
            "type" => is_of_type(value, rule.as_str().unwrap_or_else(|| panic!("{rule} is no type"))),
            "enum" => schemas().any(|allowed| is_same(allowed, value)),
            "anyOf" => schemas().any(fits),
            "allOf" => schemas().all(fits),
            "not" => !fits(rule),
            "pattern" => value.as_str().is_none_or(|text| self.matches(rule.as_str(), text)),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= number(rule)),
            "minimum" => value.as_f64().is_none_or(|found| found >= rule.as_f64().unwrap_or(f64::NAN)),
            "maximum" => value.as_f64().is_none_or(|found| found <= rule.as_f64().unwrap_or(f64::NAN)),
            "required" => value.as_object().is_none_or(|found| {
                schemas().all(|name| name.as_str().is_some_and(|name| found.contains_key(name)))
            }),
            "items" => {
                value.as_array().into_iter().flatten().try_for_each(|item| self.against(item, rule))?;
                true
            }
            "properties" | "patternProperties" => true,
            "additionalProperties" => {
                assert_eq!(rule, &Value::Bool(false), "anything else is not needed");
                self.properties(value, rules)?;
                true
            }
            other if ANNOTATIONS.contains(&other) => true,
            other => panic!("the keyword {other} is not known to this test"),
        })
    }

    /// Every property is a known one, and is what it must be.
    fn properties(&self, value: &Value, rules: &Map<String, Value>) -> Result<(), String> {
        for (name, value) in value.as_object().into_iter().flatten() {
            let named = rules.get("properties").and_then(|known| known.get(name));
            let matching = rules.get("patternProperties").and_then(Value::as_object).into_iter().flatten();
            let mut matching = matching.filter(|(pattern, _)| self.matches(Some(pattern), name));
            let schema = named.or_else(|| matching.next().map(|(_, schema)| schema));
            let schema = schema.ok_or_else(|| format!("{name} is not a known property"))?;
            self.against(value, schema).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    fn matches(&self, pattern: Option<&str>, text: &str) -> bool {
        let pattern = pattern.expect("a pattern is a string");
        let compile = || Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        self.patterns.borrow_mut().entry(pattern.to_owned()).or_insert_with(compile).is_match(text)
    }
}

/// 0 and 0.0 are one number.
fn is_same(one: &Value, other: &Value) -> bool {
    one == other || one.as_f64().is_some_and(|number| other.as_f64() == Some(number))
}

fn number(rule: &Value) -> u64 {
    rule.as_u64().unwrap_or_else(|| panic!("{rule} is no length"))
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other} is not known to this test"),
    }
}

#[test]
fn it_refuses() {
    let schema = r##"{
        "type": "object", "additionalProperties": false, "required": ["a"],
        "properties": {
            "a": {"type": "integer", "minimum": 1, "maximum": 9, "not": {"enum": [7]}},
            "b": {"type": "array", "items": {"$ref": "#/definitions/word"}},
            "c": {"anyOf": [{"type": "boolean"}, {"type": "string", "maxLength": 2}]}
        },
        "patternProperties": {"^x": {"allOf": [{"enum": ["y"]}]}},
        "definitions": {"word": {"type": "string", "pattern": "^[a-z]+$"}}
    }"##;
    let checker = Checker::new(schema.parse().expect("it is JSON"));
    let check = |text: &str| checker.check(&text.parse().expect("it is JSON")).is_ok();
    for fine in
        [r#"{"a": 1}"#, r#"{"a": 2, "b": ["x"], "c": true, "xx": "y"}"#, r#"{"a": 1, "b": [], "c": "ab"}"#]
    {
        assert!(check(fine), "{fine}");
    }
    for wrong in [
        "1",
        "{}",
        r#"{"a": 0}"#,
        r#"{"a": 7}"#,
        r#"{"a": 7.0}"#,
        r#"{"a": 1.5}"#,
        r#"{"a": 10}"#,
        r#"{"a": "1"}"#,
        r#"{"a": 1, "b": ["x", "X"]}"#,
        r#"{"a": 1, "b": "x"}"#,
        r#"{"a": 1, "c": "abc"}"#,
        r#"{"a": 1, "c": 1}"#,
        r#"{"a": 1, "xx": "z"}"#,
        r#"{"a": 1, "d": 1}"#,
    ] {
        assert!(!check(wrong), "{wrong}");
    }
}
