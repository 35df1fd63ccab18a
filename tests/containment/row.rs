//! What a row is, and the cases that it is checked by.

use crate::common::{Case, Need, Output, User, Verdict, output};
use crate::probe;
use crate::walls::Wall;
use libtest_mimic::Failed;
use sbx::plan::Plan;
use std::fs;
use std::process::{Command, Stdio};

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

    /// From several ways, each by name with whether it led out: all of them or none. Anything between is a failure.
    pub(crate) fn of_all<'a>(ways: impl IntoIterator<Item = (&'a str, bool)>) -> Result<Self, Failed> {
        let (through, held): (Vec<_>, Vec<_>) = ways.into_iter().partition(|(_, through)| *through);
        match (&through[..], &held[..]) {
            ([], [_, ..]) => Ok(Reach::Held),
            ([_, ..], []) => Ok(Reach::Through),
            _ => Err(format!("some ways lead out: {through:?}; others don't: {held:?}").into()),
        }
    }
}

/// A text that nothing else on the machine says: to find it inside is to have read it.
pub(crate) fn canary() -> Result<String, Failed> {
    let random = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(format!("canary-{}", random.trim()))
}

/// Runs a command inside, which must have come so far: what sbx refuses says nothing about its walls.
pub(crate) fn ran(command: &mut Command) -> Result<Output, Failed> {
    let out = output(command)?;
    let ran = !matches!(out.status.code(), None | Some(99 | 125..=127));
    out.check(ran, || "the command should run".to_owned())?;
    Ok(out)
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

    /// A row whose walls no plan can do without: the same attempt outside, where there are none, shows what they are for.
    pub(crate) fn outside(name: &'static str, attempt: fn(&Attempt<'_>) -> Result<Reach, Failed>) -> Self {
        Self::new(name, [], attempt)
    }

    /// See [`Case::needs`].
    pub(crate) fn needs(mut self, need: Need) -> Self {
        self.needs.push(need);
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

    /// As shipped; without any of its walls, which can mean outside; and behind each wall alone.
    pub(crate) fn cases(&self) -> Vec<Case> {
        let name = |how: &str| format!("{}::{how}", self.name.replace(' ', "_"));
        let control = if self.walls.is_empty() { "outside" } else { "without_its_walls" };
        let mut cases = vec![
            self.case(&name("as_shipped"), None, Reach::Held),
            self.case(&name(control), Some("none"), Reach::Through),
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
        let outside = self.walls.is_empty() && left.is_some();
        let mut case = Case::new(name, move |user| -> Verdict {
            let walls = left.map(|left| format!("{number}={left}"));
            match attempt(&Attempt { user, walls, outside })? {
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
    /// Without sbx.
    outside: bool,
}

impl Attempt<'_> {
    /// `sbx` with these options, behind the walls that this attempt is about; outside, nothing at all.
    pub(crate) fn sbx(&self, options: &[&str]) -> Command {
        if self.outside {
            return self.user.command("env");
        }
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
        if self.outside {
            command.arg(self.user.edited_path()).arg(probe::WORD).args(words);
            return command;
        }
        command.args(["--ro", &program, "--", probe::INSIDE, probe::WORD]).args(words);
        command
    }

    /// Runs the probe and says how its last call of this name ended, as a tracer outside saw it: `0`, `EPERM`, a signal's
    /// name where the call killed it.
    pub(crate) fn traced(&self, call: &str, options: &[&str], words: &[&str]) -> Result<String, Failed> {
        self.traced_on(Stdio::null(), call, options, words)
    }

    /// Like [`Attempt::traced`], with this on stdin.
    pub(crate) fn traced_on(
        &self,
        stdin: impl Into<Stdio>,
        call: &str,
        options: &[&str],
        words: &[&str],
    ) -> Result<String, Failed> {
        let ended = self.trace(stdin.into(), call, options, words)?;
        let verdict = ended.into_iter().rev().find(|(name, _)| name == call || name == KILLED);
        verdict.map(|(_, result)| result).ok_or_else(|| format!("no call of {call} by the probe").into())
    }

    /// Runs the probe and says how its calls of these names ended, in order: see [`Attempt::traced`].
    pub(crate) fn traced_all(
        &self,
        calls: &str,
        options: &[&str],
        words: &[&str],
    ) -> Result<Vec<(String, String)>, Failed> {
        self.trace(Stdio::null(), calls, options, words)
    }

    fn trace(
        &self,
        stdin: Stdio,
        calls: &str,
        options: &[&str],
        words: &[&str],
    ) -> Result<Vec<(String, String)>, Failed> {
        let log = self.user.dir().join("trace");
        let probe = self.probe(options, words);
        let mut strace = self.user.command("strace");
        strace.args(["-f", "-qq", "-o"]).arg(&log).args(["-e", &format!("trace=execve,{calls}")]);
        strace.arg(probe.get_program()).args(probe.get_args());
        let out = output(strace.stdin(stdin))?;
        let text = fs::read_to_string(&log).map_err(|error| format!("no trace: {error}"))?;
        // Its path can't be read where PID 1 is hidden: the probe is what the last execve started.
        let lines: Vec<_> = text.lines().collect();
        let (before, after) =
            lines.split_at(lines.iter().rposition(|line| line.contains("execve")).unwrap_or(0));
        let task = |line: &&str| line.split(' ').next().map(str::to_owned);
        // What others began before that may end only now, as PID 1's fork may.
        let own = after.first().and_then(task);
        let others: Vec<_> = before.iter().map(task).filter(|number| *number != own).collect();
        let after = after.iter().skip(1).filter(|line| !others.contains(&task(line)));
        let ended: Vec<_> = after.filter_map(|line| ending(line)).collect();
        match ended.is_empty() {
            true => Err(out.failure(&format!("no call of {calls} by the probe in the trace: {text}"))),
            false => Ok(ended),
        }
    }
}

/// In place of a call's name, where a signal killed the probe.
const KILLED: &str = "+++";

/// The name of a traced call and how it ended: `1234 ioctl(0, TIOCSTI, …) = -1 EPERM (Operation not permitted)`.
fn ending(line: &str) -> Option<(String, String)> {
    let (_, line) = line.split_once(' ')?;
    let line = line.trim_start();
    if let Some(killed) = line.strip_prefix("+++ killed by ") {
        return Some((KILLED.to_owned(), killed.split(' ').next()?.to_owned()));
    }
    let name = match line.strip_prefix("<... ") {
        Some(resumed) => resumed.split(' ').next()?,
        None => line.split_once('(')?.0,
    };
    let (_, result) = line.rsplit_once(" = ")?;
    let result = match result.split(' ').collect::<Vec<_>>()[..] {
        ["-1", errno, ..] => errno,
        [number, ..] => number,
        [] => return None,
    };
    Some((name.to_owned(), result.to_owned()))
}
