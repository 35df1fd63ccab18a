//! Files that nobody but the user is to read, and a script that tries to.

use crate::common::{Output, User, Verdict, output};
use libtest_mimic::Failed;
use std::fs;
use std::path::Path;

/// Reads what it is told to; a build runs it.
const SCRIPT: &str = "#!/bin/sh\nhere=$(dirname \"$0\")\nwhile IFS= read -r target; do cat \"$target\"; done <\"$here/targets\" \
                      >>\"$here/stolen\" 2>/dev/null\necho tried >>\"$here/tried\"\n";

/// Secrets of a home, each with a word of its own in it.
#[derive(Debug)]
pub(crate) struct Secrets {
    names: Vec<String>,
}

impl Secrets {
    /// Writes them, each path below the user's directory, and the script; then shows that outside the script reads all.
    pub(crate) fn put(user: &User, names: &[&str]) -> Result<Self, Failed> {
        let mut targets = String::new();
        for name in names {
            let path = user.put(name, Self::text(name))?;
            targets += &format!("{}\n", path.display());
        }
        user.put("home/project/steal/targets", targets)?;
        user.put_program("home/project/steal/steal.sh", SCRIPT)?;
        let secrets = Self { names: names.iter().map(|name| (*name).to_owned()).collect() };
        output(user.command("sh").arg("steal/steal.sh"))?.exits(0)?;
        let stolen = secrets.stolen(user)?;
        if stolen.len() != names.len() {
            return Err(format!("outside, only these are read: {stolen:?}").into());
        }
        for file in ["stolen", "tried"] {
            fs::remove_file(user.project().join("steal").join(file))?;
        }
        Ok(secrets)
    }

    /// Something that all the programs take for settings, or for nothing.
    fn text(name: &str) -> String {
        format!("# {}\n", Self::word(name))
    }

    fn word(name: &str) -> String {
        format!("canary-{name}-yranac")
    }

    /// The names of those that the script has read.
    fn stolen(&self, user: &User) -> Result<Vec<&str>, Failed> {
        let text = fs::read_to_string(user.project().join("steal/stolen"))?;
        Ok(self.names.iter().map(String::as_str).filter(|name| text.contains(&Self::word(name))).collect())
    }

    /// The script has run, at least `times` times, and has got nothing; nor did anything of it get into what was printed.
    pub(crate) fn kept(&self, user: &User, run: &Output, times: usize) -> Verdict {
        let stolen = self.stolen(user)?;
        run.check(stolen.is_empty(), || format!("read inside: {stolen:?}"))?;
        run.stdout_lacks("canary-")?.stderr_lacks("canary-")?;
        let tried = fs::read_to_string(user.project().join("steal/tried")).unwrap_or_default();
        run.check(tried.lines().count() >= times, || format!("it tried only so often:\n{tried}"))?;
        for name in &self.names {
            let now = fs::read_to_string(user.dir().join(Path::new(name)))?;
            run.check(now == Self::text(name), || format!("{name} changed"))?;
        }
        Ok(())
    }
}
