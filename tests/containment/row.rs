//! What a row is, and the cases that it is checked by.

use crate::common::{Case, Need, Output, User, Verdict, output};
use crate::probe;
use crate::walls::Wall;
use libtest_mimic::Failed;
use sbx::plan::Plan;
use std::fs;
use std::process::Command;

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Nowhere.
    Held,
    /// Out.
    Through,
}

impl Reach {
    /// From an effect that can be seen outside.
    pub(crate) fn through_if(effect: bool) -> Self {
        if effect { Reach::Through } else { Reach::Held }
    }
}

/// A way out.
pub(crate) struct Row {
    /// Its number and what it does: `A5 types into the caller's terminal`.
    name: &'static str,
    walls: Vec<Wall>,
    attempt: fn(&Attempt<'_>) -> Result<Reach, Failed>,
    needs: Vec<Need>,
    as_user: bool,
    as_root: bool,
}

impl Row {
    /// A row with the walls that hold it, at least one.
    pub(crate) fn new(
        name: &'static str,
        walls: impl Into<Vec<Wall>>,
        attempt: fn(&Attempt<'_>) -> Result<Reach, Failed>,
    ) -> Self {
        Self { name, walls: walls.into(), attempt, needs: Vec::new(), as_user: true, as_root: true }
    }

    /// See [`Case::needs`].
    pub(crate) fn needs(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    /// See [`Case::only_as_user`].
    pub(crate) fn only_as_user(mut self) -> Self {
        self.as_root = false;
        self
    }

    /// See [`Case::only_as_root`].
    pub(crate) fn only_as_root(mut self) -> Self {
        self.as_user = false;
        self
    }

    fn number(&self) -> &'static str {
        self.name.split(' ').next().unwrap_or_default()
    }

    /// As shipped; without any of its walls; and behind each wall alone.
    pub(crate) fn cases(&self) -> Vec<Case> {
        let name = |how: &str| format!("{}::{how}", self.name.replace(' ', "_"));
        let mut cases = vec![
            self.case(&name("as_shipped"), None, Reach::Held),
            self.case(&name("without_its_walls"), Some("none"), Reach::Through),
        ];
        if let [_, _, ..] = self.walls[..] {
            let alone = |wall: &Wall| {
                let how = name(&format!("by_{}_alone", wall.name.replace(' ', "_")));
                self.case(&how, Some(wall.name), Reach::Held)
            };
            cases.extend(self.walls.iter().map(alone));
        }
        cases
    }

    fn case(&self, name: &str, left: Option<&'static str>, wanted: Reach) -> Case {
        let (attempt, number) = (self.attempt, self.number());
        let mut case = Case::new(name, move |user| -> Verdict {
            let walls = left.map(|left| format!("{number}={left}"));
            match attempt(&Attempt { user, walls })? {
                found if found == wanted => Ok(()),
                found => Err(format!("{found:?}, should be {wanted:?}").into()),
            }
        });
        for need in &self.needs {
            case = case.needs(*need);
        }
        match (self.as_user, self.as_root) {
            (_, false) => case.only_as_user(),
            (false, _) => case.only_as_root(),
            _ => case,
        }
    }
}

/// The edits that `ROW=WALL` names: all walls of the row go but that one; `none` is no wall.
pub(crate) fn edits(rows: &[Row], name: &str) -> Option<Vec<fn(&mut Plan)>> {
    let (number, left) = name.split_once('=')?;
    let row = rows.iter().find(|row| row.number() == number)?;
    Some(row.walls.iter().filter(|wall| wall.name != left).map(|wall| wall.down).collect())
}

/// One attempt, with a user and home of its own.
pub(crate) struct Attempt<'a> {
    pub(crate) user: &'a User,
    /// The edit of the plan; none as shipped.
    walls: Option<String>,
}

impl Attempt<'_> {
    /// `sbx` with these options, behind the walls that this attempt is about.
    pub(crate) fn sbx(&self, options: &[&str]) -> Command {
        let mut command = match &self.walls {
            Some(walls) => self.user.edited(walls),
            None => self.user.sbx(),
        };
        command.args(options);
        command
    }

    /// A shell script inside.
    pub(crate) fn sh(&self, options: &[&str], script: &str) -> Result<Output, Failed> {
        output(self.sbx(options).args(["sh", "-c", script]))
    }

    /// The probe inside, with one of its words and what belongs to it.
    pub(crate) fn probe(&self, options: &[&str], words: &[&str]) -> Command {
        let program = format!("{}:{}", self.user.edited_path().display(), probe::INSIDE);
        let mut command = self.sbx(options);
        command.args(["--ro", &program, "--", probe::INSIDE, probe::WORD]).args(words);
        command
    }

    /// Runs the probe and says how its last call of this name ended, as a tracer outside saw it: `0`, `EPERM`, a signal's
    /// name where the call killed it.
    pub(crate) fn traced(&self, call: &str, options: &[&str], words: &[&str]) -> Result<String, Failed> {
        let log = self.user.dir().join("trace");
        let probe = self.probe(options, words);
        let mut strace = self.user.command("strace");
        strace.args(["-f", "-qq", "-o"]).arg(&log).args(["-e", &format!("trace=execve,{call}")]);
        strace.arg(probe.get_program()).args(probe.get_args());
        let out = output(&mut strace)?;
        let text = fs::read_to_string(&log).map_err(|error| format!("no trace: {error}"))?;
        // Its path can't be read where PID 1 is hidden: the probe is what the last execve started.
        let mut after = text.lines().rev().take_while(|line| !line.contains("execve"));
        let verdict = after.find_map(|line| ending(line, call));
        verdict.ok_or_else(|| out.failure(&format!("no call of {call} by the probe in the trace: {text}")))
    }
}

/// How a traced call ended: `1234 ioctl(0, TIOCSTI, …) = -1 EPERM (Operation not permitted)`.
fn ending(line: &str, call: &str) -> Option<String> {
    let (_, line) = line.split_once(' ')?;
    let line = line.trim_start();
    if let Some(killed) = line.strip_prefix("+++ killed by ") {
        return Some(killed.split(' ').next()?.to_owned());
    }
    let resumed = line.strip_prefix("<... ").is_some_and(|rest| rest.starts_with(call));
    if !resumed && !line.starts_with(&format!("{call}(")) {
        return None;
    }
    let (_, result) = line.rsplit_once(" = ")?;
    match result.split(' ').collect::<Vec<_>>()[..] {
        ["-1", errno, ..] => Some(errno.to_owned()),
        [number, ..] => Some(number.to_owned()),
        [] => None,
    }
}
