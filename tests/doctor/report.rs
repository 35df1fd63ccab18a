//! The doctor's answer, taken apart, and what it should be.

use crate::common::{Output, User, Verdict, output};
use libtest_mimic::Failed;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// One thing: its status, cause and remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) status: String,
    pub(crate) what: String,
    pub(crate) cause: String,
    pub(crate) remedy: String,
}

/// Every thing by its name.
pub(crate) type Report = BTreeMap<String, Told>;

/// What should be told of one thing: its name, its status, a part of the cause and a part of the remedy.
pub(crate) type Expected<'a> = (&'a str, &'a str, &'a str, &'a str);

/// The cause of what could not be tried.
pub(crate) const UNTRIED: &str = "not tried";

/// What the doctor says, as JSON.
pub(crate) fn parse(output: &Output) -> Result<Report, Failed> {
    let wrong = |what: &str| output.failure(what);
    let json: Value = serde_json::from_slice(&output.stdout).map_err(|_| wrong("it should be JSON"))?;
    output.check(json["version"] == 1, || "it should be version 1".to_owned())?;
    let mut report = Report::new();
    for check in json["checks"].as_array().ok_or_else(|| wrong("there should be checks"))? {
        let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        let told =
            Told { status: text("status"), what: text("what"), cause: text("cause"), remedy: text("remedy") };
        let known = ["ok", "missing", "degraded", "info"].contains(&told.status.as_str());
        let untried = told.cause.starts_with(UNTRIED);
        output.check(known && !told.what.is_empty(), || format!("odd: {check}"))?;
        output.check((told.status == "ok") == told.cause.is_empty(), || {
            format!("a cause where something is wrong, and only there: {check}")
        })?;
        output.check(told.cause.is_empty() || untried || !told.remedy.is_empty(), || {
            format!("a cause and no remedy: {check}")
        })?;
        output
            .check(report.insert(text("name"), told).is_none(), || format!("told twice: {}", text("name")))?;
    }
    let missing = report.values().any(|told| told.status == "missing");
    output.check(json["works"] == !missing, || "works should be what the checks say".to_owned())?;
    output.exits(i32::from(missing))?.stderr_is("")?;
    Ok(report)
}

/// A script in a user and mount namespace of its own, as its root; `$SBX` is the program, `$FILTERED` this one.
pub(crate) fn outer(user: &User, script: &str) -> Command {
    let mut command = user.command("unshare");
    command.env("SBX", user.sbx_path()).env("FILTERED", user.edited_path());
    command.args(["-Urm", "sh", "-euc", script]);
    command
}

/// A script as the user, where they are.
pub(crate) fn plain(user: &User, script: &str) -> Command {
    let mut command = user.command("sh");
    command.env("SBX", user.sbx_path()).env("FILTERED", user.edited_path());
    command.args(["-euc", script]);
    command
}

/// How to start a script: [`outer`] or [`plain`].
pub(crate) type Place = fn(&User, &str) -> Command;

/// After `fault`, the doctor tells these things, those that it could not try, and of all others what it tells without the
/// fault.
pub(crate) fn finds(
    user: &User,
    place: Place,
    fault: &str,
    expected: &[Expected<'_>],
    untried: &[&str],
) -> Result<Report, Failed> {
    let before = parse(&output(&mut place(user, "$SBX doctor --format json"))?)?;
    // `{}` stands for the doctor where it is not the last command of the script.
    let doctor = "$SBX doctor --format json";
    let script = if fault.contains("{}") { fault.replace("{}", doctor) } else { format!("{fault} {doctor}") };
    let output = output(&mut place(user, &script))?;
    let after = parse(&output)?;
    compare(&before, &after, expected, untried).map_err(|what| output.failure(&what))?;
    Ok(after)
}

/// What is wrong with the report `after` a fault.
pub(crate) fn compare(
    before: &Report,
    after: &Report,
    expected: &[Expected<'_>],
    untried: &[&str],
) -> Result<(), String> {
    for (name, status, cause, remedy) in expected {
        let told = after.get(*name).ok_or_else(|| format!("nothing is told of {name}"))?;
        if told.status != *status || !told.cause.contains(cause) || !told.remedy.contains(remedy) {
            return Err(format!("{name} should be {status}, by {cause:?}, with {remedy:?}: {told:?}"));
        }
    }
    for name in untried {
        let told = after.get(*name).ok_or_else(|| format!("nothing is told of {name}"))?;
        if told.status != "info" || !told.cause.starts_with(UNTRIED) {
            return Err(format!("{name} should not be tried: {told:?}"));
        }
    }
    for (name, told) in after {
        let is_named = expected.iter().any(|(known, ..)| known == name) || untried.contains(&name.as_str());
        if !is_named && before.get(name) != Some(told) {
            return Err(format!(
                "a false alarm: {name} is {told:?}, without the fault {:?}",
                before.get(name)
            ));
        }
    }
    Ok(())
}

/// The page for people says the same as the JSON.
pub(crate) fn same_as_text(report: &Report, page: &Output) -> Verdict {
    let text = page.text();
    for told in report.values() {
        let line = format!("{:<8}  {}", told.status, told.what);
        let shown = match told.cause.as_str() {
            "" => text.lines().any(|known| known == line),
            cause if cause.starts_with(UNTRIED) => {
                let list = text.lines().find(|line| line.starts_with("Not tried"));
                list.is_some_and(|list| list.contains(&told.what))
            }
            cause => text.contains(&format!("{line}: {cause}\n")),
        };
        page.check(shown, || format!("the page should have {told:?}"))?;
        for line in told.remedy.lines() {
            page.stdout_has(line)?;
        }
    }
    let works = !report.values().any(|told| told.status == "missing");
    page.check(text.starts_with("Sandboxes work here.") == works, || "the first line".to_owned())?;
    page.exits(i32::from(!works))?.stderr_is("")?;
    Ok(())
}
