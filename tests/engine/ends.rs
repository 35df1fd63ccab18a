//! How a run ends, and that nothing outlives it.

use crate::common::{Case, Need, Running, User, Verdict, case, output, output_within, process, wait_for};
use crate::probe::{outer, sh};
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(every_exit_code_passes),
        case!(a_signal_is_128_and_more),
        case!(real_time_signals_are_survived),
        case!(a_daemon_ends_with_the_command),
        case!(killing_sbx_ends_everything),
        case!(killing_sbx_at_any_moment_ends_everything),
        case!(killing_pid_1_is_told),
        case!(time_is_up),
        case!(orphans_are_reaped).needs(Need::Program("setsid")),
        case!(many_starts_leave_nothing),
    ]
}

/// A program with a name of its own, so that all its processes can be found.
struct Marked {
    program: PathBuf,
    word: String,
}

impl Marked {
    fn new(user: &User) -> Result<Self, Failed> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let word = format!("{}{:03}", process::own_pid(), COUNT.fetch_add(1, Ordering::Relaxed) % 1000);
        let program = user.dir().join(format!("sbx-{word}"));
        output(Command::new("install").args(["-m", "755"]).arg(user.sbx_path()).arg(&program))?.exits(0)?;
        Ok(Self { program, word })
    }

    /// A payload that sleeps, whose arguments name it.
    fn sleep(&self) -> String {
        format!("sleep 1{}", self.word)
    }

    /// The processes that run the program or have the word in their arguments.
    fn processes(&self) -> Vec<i32> {
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| self.is_of(*pid)).collect()
    }

    fn is_of(&self, pid: i32) -> bool {
        let dir = Path::new("/proc").join(pid.to_string());
        let arguments = fs::read(dir.join("cmdline")).unwrap_or_default();
        fs::read_link(dir.join("exe")).is_ok_and(|exe| exe == self.program)
            || String::from_utf8_lossy(&arguments).contains(&format!("sleep 1{}", self.word))
            || String::from_utf8_lossy(&arguments).contains(&format!("sleep\u{0}1{}", self.word))
    }

    fn gone_within(&self, limit: Duration) -> Verdict {
        let start = Instant::now();
        loop {
            let left = self.processes();
            if left.is_empty() {
                return Ok(());
            }
            if start.elapsed() > limit {
                return Err(format!("still there after {limit:?}: {left:?}").into());
            }
            sleep(Duration::from_millis(2));
        }
    }
}

fn every_exit_code_passes(user: &User) -> Verdict {
    for code in 0..=255 {
        output(user.sbx().args(["sh", "-c", &format!("exit {code}")]))?.exits(code)?.stderr_is("")?;
    }
    Ok(())
}

fn a_signal_is_128_and_more(user: &User) -> Verdict {
    for signal in Signal::iterator() {
        let stops_or_goes_on = [
            Signal::SIGCHLD,
            Signal::SIGCONT,
            Signal::SIGSTOP,
            Signal::SIGTSTP,
            Signal::SIGTTIN,
            Signal::SIGTTOU,
            Signal::SIGURG,
            Signal::SIGWINCH,
        ];
        if stops_or_goes_on.contains(&signal) {
            continue;
        }
        let number = signal as i32;
        sh(user, &[], &format!("kill -{number} $$; sleep 5"))?.exits(128 + number)?;
    }
    for number in [34, 64] {
        sh(user, &[], &format!("kill -{number} $$; sleep 5"))?.exits(128 + number)?;
    }
    Ok(())
}

/// PID 1 reaps an orphan that died of a signal without a name.
fn real_time_signals_are_survived(user: &User) -> Verdict {
    let script = "(setsid sh -c 'kill -34 $$' &); sleep 0.3; echo alive";
    sh(user, &[], script)?.exits(0)?.stdout_is("alive\n")?;
    Ok(())
}

/// A daemon in a session of its own, with its output closed, that would write a file of the host's later.
fn a_daemon_ends_with_the_command(user: &User) -> Verdict {
    let marked = Marked::new(user)?;
    let script = "(setsid sh -c 'trap \"\" HUP TERM INT; (sleep 0.7; : >late) & '\"$0\"'; :' >/dev/null 2>&1 </dev/null &)
        while ! grep -qs sleep /proc/[0-9]*/comm; do :; done; exit 3";
    let mut command = user.command(&marked.program);
    output(command.args(["sh", "-c", script, &marked.sleep()]))?.exits(3)?;
    let left = marked.processes();
    if !left.is_empty() {
        return Err(format!("outlived sbx: {left:?}").into());
    }
    sleep(Duration::from_secs(1));
    if user.project().join("late").exists() { Err("the daemon wrote after the end".into()) } else { Ok(()) }
}

fn busy(user: &User, marked: &Marked) -> Command {
    let mut command = user.command(&marked.program);
    let script = "(setsid $0 &); $0 & trap '' TERM HUP; echo ready; $0";
    command.args(["sh", "-c", script, &marked.sleep()]);
    command
}

fn ready(user: &User, marked: &Marked) -> Result<Running, Failed> {
    let running = Running::start(&mut busy(user, marked))?;
    wait_for("three sleeps", || (process::descendants(running.pid()).len() >= 5).then_some(()))?;
    Ok(running)
}

fn killing_sbx_ends_everything(user: &User) -> Verdict {
    let marked = Marked::new(user)?;
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGABRT] {
        let running = ready(user, &marked)?;
        running.signal(signal)?;
        if signal == Signal::SIGTERM {
            // The command ignores the first.
            sleep(Duration::from_millis(50));
            running.signal(signal)?;
        }
        let out = running.finish()?;
        marked.gone_within(Duration::from_secs(1)).map_err(|failure| {
            out.failure(&format!("after {signal}: {}", failure.message().unwrap_or_default()))
        })?;
    }
    Ok(())
}

fn killing_sbx_at_any_moment_ends_everything(user: &User) -> Verdict {
    let marked = Marked::new(user)?;
    for round in 0_u64..50 {
        let mut child = busy(user, &marked).stdout(std::process::Stdio::null()).spawn()?;
        // Spread over the 10 ms that a start takes, each moment once.
        sleep(Duration::from_micros((round * 37 % 50) * 250));
        child.kill()?;
        child.wait()?;
        marked.gone_within(Duration::from_secs(1))?;
    }
    Ok(())
}

fn killing_pid_1_is_told(user: &User) -> Verdict {
    let marked = Marked::new(user)?;
    let running = ready(user, &marked)?;
    let init = *process::descendants(running.pid()).first().ok_or("no PID 1")?;
    kill(Pid::from_raw(init), Signal::SIGKILL)?;
    running.finish()?.exits(137)?.stderr_has("sbx: error: ")?.stderr_has("PID 1 was killed from outside")?;
    marked.gone_within(Duration::from_secs(1))
}

fn time_is_up(user: &User) -> Verdict {
    let marked = Marked::new(user)?;
    let stubborn = format!("trap '' TERM; setsid {0} & {0}; {0}", marked.sleep());
    // What ignores the request gets ten seconds more.
    for (script, wanted) in [(marked.sleep(), 0.9..4.0), (stubborn, 10.9..14.0)] {
        let mut command = user.command(&marked.program);
        let out = output(command.args(["--timeout", "1s", "sh", "-c", &script]))?;
        out.exits(124)?;
        let seconds = out.took.as_secs_f32();
        out.check(wanted.contains(&seconds), || {
            format!("{wanted:?} seconds, the last ones for a slow machine")
        })?;
        marked.gone_within(Duration::ZERO)?;
    }
    let out = output(user.sbx().args(["--timeout", "20s", "sh", "-c", "exit 5"]))?;
    out.exits(5)?.check(out.took.as_secs() < 10, || "at once".to_owned())?;
    Ok(())
}

/// PID 1 waits for what nobody else does.
fn orphans_are_reaped(user: &User) -> Verdict {
    let script = "i=0; while [ $i -lt 200 ]; do (setsid true &); i=$((i+1)); done; sleep 0.3
        cd /proc; for p in [0-9]*; do [ -e $p ] && grep -H State $p/status; done";
    sh(user, &[], script)?.stdout_lacks("zombie")?;
    Ok(())
}

/// In a PID namespace of their own, so that all that is left can be seen.
fn many_starts_leave_nothing(user: &User) -> Verdict {
    let script = "i=0; while [ $i -lt 100 ]; do \"$SBX\" true || exit 1; i=$((i+1)); done
        cd /proc; for p in [0-9]*; do echo $p; done; grep -c . self/mountinfo; ls /var/tmp/.sbx* /tmp/.sbx* || true";
    let mut command = outer(user, &["-pf", "--mount-proc"], script);
    let out = output_within(Duration::from_secs(120), &mut command)?;
    let text = out.text();
    let (processes, mounts) = text.split_once('\n').unwrap_or_default();
    out.exits(0)?.check(processes == "1", || "only the shell is left".to_owned())?;
    let before = process::Mount::all_of(process::own_pid())?.len() + 1;
    out.check(mounts.trim() == before.to_string(), || format!("{before} mounts"))?;
    Ok(())
}
