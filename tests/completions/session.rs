//! A shell with the script loaded, which is asked what it makes of a line.

use crate::common::{self, User, Verdict, source_dir};
use crate::driver::Terminal;
use crate::shell::Shell;
use libtest_mimic::Failed;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Where packages put bash-completion.
pub(crate) const BASH_COMPLETION: &str = "/usr/share/bash-completion/bash_completion";

/// The directory of this login, below [`User::dir`], and the sandboxes that seem to run.
const RUNTIME_DIR: &str = "runtime";
const SANDBOXES: [&str; 3] = ["tests", "web", "web-4711"];

/// How the script gets into the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// As `sbx completions` prints it.
    Printed,
    /// From its file, in the way of an installed one: beside bash-completion, in zsh's path of functions.
    Installed,
}

/// The script for a shell, as it is shipped.
pub(crate) fn script(shell: Shell) -> PathBuf {
    let name = match shell {
        Shell::Zsh => "_sbx",
        Shell::Fish => "sbx.fish",
        _ => "sbx.bash",
    };
    source_dir().join("packaging/completions").join(name)
}

/// What bash is told. `offered` and `line` are what the cases read.
const BASH: &str = r#"
demo_words() { COMPREPLY=($(compgen -W 'alpha beta --gamma' -- "$2")); }
complete -F demo_words demo check
probe() {
  _sbx "$@"
  printf '%s\n' "${COMPREPLY[@]}" >>~/offered
}
complete -F probe sbx
look() { printf '%s' "$READLINE_LINE" >~/line.new; mv ~/line.new ~/line; }
bind -x '"\C-x\C-l": look'
bind 'set bell-style none' 'set completion-query-items 0' 'set page-completions off'
"#;

/// What zsh is told, after `compinit`.
const ZSH: &str = r#"
_demo() { compadd -- alpha beta --gamma }
compdef _demo demo check
compadd() {
  if [[ -z ${(M)@[1,(i)(-|--)]:#-[OAD]*} ]]; then
    local -a found
    builtin compadd -A found "$@"
    print -rl -- $found >>~/offered
  fi
  builtin compadd "$@"
}
look() { print -rn -- "$BUFFER" >~/line.new; mv ~/line.new ~/line }
zle -N look
bindkey -e
bindkey '^X^L' look
setopt no_auto_list no_auto_menu no_beep
"#;

/// What fish is told.
const FISH: &str = "
complete -c demo -f -a 'alpha beta'
complete -c demo -l gamma
complete -c check -f -a 'alpha beta'
";

/// The shell of one case.
pub(crate) struct Session<'a> {
    user: &'a User,
    shell: Shell,
    /// fish answers without one.
    terminal: Option<Terminal>,
}

/// What a line offers, and what Tab makes of it where the shell shows that.
struct Answer {
    offered: BTreeSet<String>,
    line: Option<String>,
}

impl<'a> Session<'a> {
    /// Starts a shell in a project directory with some files.
    pub(crate) fn start(user: &'a User, shell: Shell, script: Script) -> Result<Self, Failed> {
        user.put("home/.config/sbx/profiles/mine.toml", "schema = 1\n")?;
        for layer in ["project-1", "project-2"] {
            user.mkdir(format!("home/.local/state/sbx/layers/{layer}/upper"))?;
        }
        for file in [
            "own.toml",
            "layers/top.toml",
            "layers/notes.txt",
            "notes.txt",
            "my files/a note.txt",
            "my files/b own.toml",
        ] {
            user.put(format!("home/project/{file}"), "schema = 1\n")?;
        }
        user.put_program("home/project/run-me", "#!/bin/sh\n")?;
        user.put_program("home/project/my files/run-this", "#!/bin/sh\n")?;
        for name in SANDBOXES {
            user.mkdir(format!("{RUNTIME_DIR}/sbx/{name}"))?;
        }
        let mut session = Self { user, shell, terminal: None };
        let text = session.setup(script)?;
        let path = user.put("home/setup", text)?;
        if shell != Shell::Fish {
            let mut terminal = Terminal::start(user, shell)?;
            let runtime = user.dir().join(RUNTIME_DIR);
            let exports = format!("export SBX_TEST_PASSED=1 XDG_RUNTIME_DIR={}", runtime.display());
            terminal.run_for(&format!("{exports}; . {}", path.display()), 0)?;
            session.terminal = Some(terminal);
        }
        Ok(session)
    }

    /// Tells the shell something more.
    pub(crate) fn tell(&mut self, command: &str) -> Verdict {
        self.terminal.as_mut().map_or(Ok(()), |terminal| terminal.run_for(command, 0))
    }

    pub(crate) fn user(&self) -> &User {
        self.user
    }

    /// Where no file fits, zsh offers those that do not.
    pub(crate) fn offers_only_what_fits(&self) -> bool {
        self.shell != Shell::Zsh
    }

    fn setup(&self, how: Script) -> Result<String, Failed> {
        let file = script(self.shell);
        let text = match how {
            Script::Installed => std::fs::read_to_string(&file)?,
            Script::Printed => {
                let name = self.shell.to_string();
                let printed = common::output(self.user.sbx().args(["completions", name.as_str()]))?;
                printed.exits(0)?.text()
            }
        };
        Ok(match (self.shell, how) {
            (Shell::Zsh, Script::Printed) => {
                format!("autoload -Uz compinit; compinit -D -u\n{text}\n{ZSH}")
            }
            (Shell::Zsh, Script::Installed) => {
                let copy = self.user.put("site-functions/_sbx", text)?;
                let directory = copy.with_file_name("").display().to_string();
                format!("fpath=({directory} $fpath); autoload -Uz compinit; compinit -D -u\n{ZSH}")
            }
            (Shell::Fish, _) => format!("{text}\n{FISH}"),
            (_, Script::Printed) => format!("{text}\n{BASH}"),
            (_, Script::Installed) => format!(". {BASH_COMPLETION}\n{text}\n{BASH}"),
        })
    }

    fn ask(&mut self, line: &str) -> Result<Answer, Failed> {
        let home = self.user.home();
        let Some(terminal) = &mut self.terminal else { return self.ask_fish(line) };
        for file in ["offered", "line"] {
            match std::fs::remove_file(home.join(file)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        // Ctrl-U empties the line, Ctrl-X Ctrl-L is bound to the look at it.
        terminal.keys(format!("\x15{line}\t\x18\x0c"))?;
        terminal.until("the line was looked at", |_| home.join("line").exists())?;
        let read = |name: &str| std::fs::read_to_string(home.join(name)).unwrap_or_default();
        let offered = read("offered").lines().map(|word| word.trim_end().to_owned()).collect();
        Ok(Answer { offered, line: Some(read("line")) })
    }

    fn ask_fish(&self, line: &str) -> Result<Answer, Failed> {
        let mut command = self.user.command("fish");
        let directory = self.user.sbx_path().with_file_name("");
        command.args(["--no-config", "-c", "source ~/setup; complete -C $argv[1]", line]);
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", directory.display()));
        command.env("SBX_TEST_PASSED", "1").env("XDG_RUNTIME_DIR", self.user.dir().join(RUNTIME_DIR));
        let output = common::output(&mut command)?;
        output.exits(0)?.stderr_is("")?;
        let first = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
        Ok(Answer { offered: output.text().lines().map(first).collect(), line: None })
    }

    /// These words are offered, among others or not.
    pub(crate) fn offers(&mut self, line: &str, words: &[&str]) -> Verdict {
        self.check(line, words, true)
    }

    /// None of these words is offered.
    pub(crate) fn offers_not(&mut self, line: &str, words: &[&str]) -> Verdict {
        self.check(line, words, false)
    }

    fn check(&mut self, line: &str, words: &[&str], wanted: bool) -> Verdict {
        let answer = self.ask(line)?;
        // A value may come with its option, and zsh puts the end of a key there later.
        let has = |word: &&&str| {
            let plain = word.trim_end_matches('=');
            let with_option = format!("={plain}");
            let mut offered = answer.offered.iter().map(|offer| offer.trim_end_matches('='));
            offered.any(|offer| offer == plain || offer.ends_with(&with_option))
        };
        match words.iter().find(|word| has(word) != wanted) {
            None => Ok(()),
            Some(word) => {
                let verb = if wanted { "should" } else { "should not" };
                let offered: Vec<&String> = answer.offered.iter().take(50).collect();
                Err(format!("{}: {line:?} {verb} offer {word}: {offered:?}", self.shell).into())
            }
        }
    }

    /// Tab makes this of the line; in fish, which is not typed into, the only offer is how it ends.
    pub(crate) fn becomes(&mut self, line: &str, whole: &str) -> Verdict {
        let answer = self.ask(line)?;
        if let Some(made) = answer.line {
            let same = made == whole;
            return if same {
                Ok(())
            } else {
                Err(format!("{}: {line:?} became {made:?}", self.shell).into())
            };
        }
        let plain = whole.replace(['\\', '"'], "");
        let fits = |offer: &String| plain.trim_end().ends_with(offer.as_str());
        let fine = match answer.offered.len() {
            0 => line == whole,
            1 => answer.offered.iter().all(fits),
            _ => false,
        };
        if fine { Ok(()) } else { Err(format!("fish: {line:?} offers {:?}", answer.offered).into()) }
    }
}
