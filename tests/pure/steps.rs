//! What is said of each step, and what each failure exits with.

use nix::errno::Errno;
use sbx::exec::{ExecError, Failure, Outcome, Step};
use std::collections::BTreeSet;

#[test]
fn every_step_has_a_verb() {
    for step in Step::ORDER {
        let verb = step.verb();
        assert!(!verb.is_empty() && verb.trim() == verb, "{step:?}: {verb:?}");
        assert!(
            verb.starts_with(|letter: char| letter.is_ascii_lowercase()),
            "{step:?}: `cannot {verb}` is no sentence"
        );
        assert!(!verb.ends_with(['.', ':']), "{step:?}: {verb:?}");
        assert!(verb.is_ascii() && verb.len() < 60, "{step:?}: {verb:?}");
    }
}

#[test]
fn the_order_names_every_step_once() {
    let numbers: Vec<_> = Step::ORDER.iter().map(|step| *step as usize).collect();
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>());
    let names: BTreeSet<_> = Step::ORDER.iter().map(|step| format!("{step:?}")).collect();
    assert_eq!(names.len(), Step::ORDER.len());
}

/// The order of confinement that design and manual promise, as far as one step must come before another.
#[test]
fn the_order_is_the_promised_one() {
    let place = |step: Step| Step::ORDER.iter().position(|other| *other == step);
    let promised = [
        Step::Lifeline,
        Step::IdMap,
        Step::Loopback,
        Step::Hostname,
        Step::Root,
        Step::Source,
        Step::Restrict,
        Step::Attach,
        Step::SealRoot,
        Step::Pivot,
        Step::Time,
        Step::HideInit,
        Step::Capabilities,
        Step::User,
        Step::NoNewPrivs,
        Step::Fork,
        Step::Group,
        Step::Limits,
        Step::Exec,
    ];
    for pair in promised.windows(2) {
        assert!(place(pair[0]) < place(pair[1]), "{:?} before {:?}", pair[0], pair[1]);
    }
}

#[test]
fn each_failure_has_its_exit_code() {
    let failure = |step| Failure { step, item: 0, errno: Errno::EPERM };
    let step = |step| ExecError::Step { failure: failure(step), object: String::new(), cause: None };
    let mut table = vec![
        (ExecError::Outside { what: "make a pipe", errno: Errno::EMFILE }, 125),
        (ExecError::Threads, 125),
        (ExecError::NoProc(Errno::ENOENT), 125),
        (ExecError::Nul("a\0b".into()), 125),
        (
            ExecError::Source {
                origin: sbx::profile::Origin::Default,
                path: "/x".into(),
                errno: Errno::ENOENT,
            },
            125,
        ),
        (ExecError::PlantedSource { mount: 0, directory: "/x".into(), writable: 1 }, 125),
        (ExecError::Guarded { mount: 0, source: "/x".into(), guarded: "/x/y".into() }, 125),
        (ExecError::Descriptor { fd: 3, why: "Bad file number".to_owned() }, 125),
        (ExecError::NotFound { command: "x".into(), outside: None }, 127),
        (ExecError::NotFound { command: "x".into(), outside: Some("/opt/x".into()) }, 127),
        (
            ExecError::NotExecutable {
                path: "/x".into(),
                why: "permission denied".to_owned(),
                outside: None,
            },
            126,
        ),
        (ExecError::InitKilled { ran: true }, 137),
        (ExecError::InitKilled { ran: false }, 125),
    ];
    table.extend(Step::ORDER.iter().map(|one| (step(*one), 125)));
    for (error, code) in table {
        assert_eq!(error.exit_code(), code, "{error}");
        let message = error.to_string();
        assert!(message.starts_with("cannot "), "{message}");
        assert!(!message.contains(char::is_control) && !message.ends_with('.'), "{message:?}");
    }
}

#[test]
fn each_end_has_its_exit_code() {
    for (outcome, code) in [
        (Outcome::Exited(0), 0),
        (Outcome::Exited(1), 1),
        (Outcome::Exited(124), 124),
        (Outcome::Exited(255), 255),
        (Outcome::Signaled(1), 129),
        (Outcome::Signaled(9), 137),
        (Outcome::Signaled(15), 143),
        (Outcome::Signaled(31), 159),
        (Outcome::Signaled(64), 192),
        (Outcome::TimedOut, 124),
    ] {
        assert_eq!(outcome.exit_code(), code, "{outcome:?}");
    }
}
