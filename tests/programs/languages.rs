//! Interpreters and compilers of the system, each with a program that uses most of what it has.

use crate::common::{Case, User, Verdict, case, output_within};
use crate::job::{Job, LIMIT, with};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        with(case!(python), &["python3"]),
        with(case!(node), &["node"]),
        with(case!(gcc), &["gcc"]),
        with(case!(gcc_with_the_address_sanitizer), &["gcc"]),
        with(case!(go), &["go"]),
        with(case!(cargo), &["cargo", "gcc"]),
        with(case!(java), &["java", "javac"]),
        with(case!(java_stays_in_its_heap), &["java", "javac"]),
    ]
}

fn python(user: &User) -> Verdict {
    Job {
        options: &["--profile", "python"],
        files: &[("work.py", include_str!("fixtures/work.py"))],
        command: &["python3", "-X", "dev", "-W", "error", "work.py"],
        prints: "all done\n",
    }
    .works_inside(user)
}

fn node(user: &User) -> Verdict {
    Job {
        options: &["--profile", "node"],
        files: &[("work.js", include_str!("fixtures/work.js"))],
        command: &["node", "work.js"],
        prints: "all done\n",
    }
    .works_inside(user)
}

fn gcc(user: &User) -> Verdict {
    Job {
        options: &["--profile", "build"],
        files: &[("work.c", include_str!("fixtures/work.c"))],
        command: &["sh", "-c", "gcc -Wall -Werror -O2 -pthread -o work work.c && ./work"],
        prints: "8 threads counted to 80000\n",
    }
    .works_inside(user)
}

/// Errors are found inside, too; leaks are not looked for, as that is done with ptrace.
fn gcc_with_the_address_sanitizer(user: &User) -> Verdict {
    let overflow =
        "ASAN_OPTIONS=detect_leaks=0 ./work overflow 2>&1 | grep -o 'ERROR: AddressSanitizer: [a-z-]*'";
    user.put("home/project/work.c", include_str!("fixtures/work.c"))?;
    let build = format!("gcc -g -O1 -pthread -fsanitize=address -o work work.c && {overflow}");
    let inside = |options: &[&str], script: &str| {
        output_within(LIMIT, user.sbx().args(["--profile", "build"]).args(options).args(["sh", "-c", script]))
    };
    inside(&[], &build)?.exits(0)?.stdout_is("ERROR: AddressSanitizer: heap-buffer-overflow\n")?;
    // With debuggers allowed, leaks are.
    let leak = "./work leak 2>&1 | grep -o 'ERROR: LeakSanitizer: .*'; ./work";
    let found = inside(&["--set", "seccomp.allow=['@debug']"], leak)?;
    found.exits(0)?.stdout_is("ERROR: LeakSanitizer: detected memory leaks\n8 threads counted to 80000\n")?;
    Ok(())
}

fn go(user: &User) -> Verdict {
    Job {
        options: &["--profile", "build"],
        files: &[
            ("go.mod", "module example.org/work\n\ngo 1.18\n"),
            ("main.go", include_str!("fixtures/main.go")),
            ("main_test.go", include_str!("fixtures/main_test.go")),
        ],
        command: &[
            "sh",
            "-c",
            "export GOFLAGS=-mod=mod GOTOOLCHAIN=local GOPROXY=off CGO_ENABLED=0; go build -o work . && ./work \
             && go test -vet=off . | cut -f1,2",
        ],
        prints: "4950\nok  \texample.org/work\n",
    }
    .works_inside(user)
}

fn cargo(user: &User) -> Verdict {
    Job {
        options: &["--profile", "rust"],
        files: &[
            ("Cargo.toml", include_str!("fixtures/crate/Cargo.toml")),
            ("build.rs", include_str!("fixtures/crate/build.rs")),
            ("src/main.rs", include_str!("fixtures/crate/src/main.rs")),
        ],
        command: &[
            "sh",
            "-c",
            "cargo build --quiet --offline && target/debug/fixture && cargo test --offline 2>/dev/null | grep '^test threads'",
        ],
        prints: "built by a script\n",
    }
    .works_inside(user)
}

fn java(user: &User) -> Verdict {
    Job {
        options: &["--profile", "build"],
        files: &[("Work.java", include_str!("fixtures/Work.java"))],
        command: &["sh", "-c", "javac -d out Work.java && java -Xmx64m -cp out Work threads"],
        prints: "garbage was collected\n",
    }
    .works_inside(user)
}

/// It sees its own limit before the sandbox does.
fn java_stays_in_its_heap(user: &User) -> Verdict {
    Job {
        options: &["--profile", "build", "--set", "limits.open-files=256"],
        files: &[("Work.java", include_str!("fixtures/Work.java"))],
        command: &["sh", "-c", "javac -d out Work.java && java -Xmx32m -XX:+UseSerialGC -cp out Work heap"],
        prints: "no more memory\n",
    }
    .works_inside(user)
}
