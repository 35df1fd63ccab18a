//! The second wall over the mounts, Landlock's rules about files: ordinary work goes on behind it.

use crate::common::{Case, User, Verdict, case, output};

pub(crate) fn cases() -> Vec<Case> {
    vec![case!(a_build_does_what_it_does_without), case!(every_mount_has_its_rule)]
}

const RULES: [&str; 4] = [
    "--set",
    "landlock.files=true",
    "--set",
    "landlock={ level = \"require\", scope = [\"-signal\", \"-abstract-unix\"] }",
];

/// Makes, moves between directories, links, truncates, runs what it made, and uses devices and the files of processes.
const WORK: &str = "set -e; exec 2>&1; umask 022
    mkdir -p a/b c; echo one >a/b/file; mv a/b/file c/file; ln c/file a/hard; ln -s ../c/file a/soft
    sed -i s/one/two/ a/soft; cat a/hard a/soft c/file; : >c/file; stat -c %s c/file; mkfifo a/pipe
    printf '#!/bin/sh\\necho ran\\n' >run; chmod +x run; ./run; (echo through >a/pipe &) ; cat a/pipe
    echo gone >/dev/null; head -c 3 /dev/zero | wc -c; cat /proc/self/comm; temporary=$(mktemp); echo kept >$temporary
    cat $temporary; rm $temporary; rm -r a c run; ls -A";

fn a_build_does_what_it_does_without(user: &User) -> Verdict {
    let outside = output(user.command("sh").current_dir(user.project()).args(["-c", WORK]))?;
    outside.exits(0)?.stdout_has("ran\nthrough\n3\ncat\nkept\n")?;
    for profile in ["default", "build"] {
        let mut command = user.sbx();
        let inside = output(command.args(["--profile", profile]).args(RULES).args(["--", "sh", "-c", WORK]))?;
        inside.exits(0)?.stdout_is(&outside.text())?;
    }
    Ok(())
}

/// Writable, read-only, temporary and made-up places; a file is not a directory.
fn every_mount_has_its_rule(user: &User) -> Verdict {
    let writable = format!("{}:/w", user.mkdir("writable")?.display());
    let shown = user.put("shown/file", "shown\n")?;
    let read_only = format!("{}:/r", user.dir().join("shown").display());
    let alone = format!("{}:/alone", shown.display());
    let script = "echo w >/w/new; cat /w/new /r/file /alone; echo t >/t/new; cat /t/new
        for place in /r/new /r/file /alone /usr/new /etc/new; do echo x 2>/dev/null >$place && echo $place; done; true";
    let mut command = user.sbx();
    command.args(RULES).args(["--rw", &writable, "--ro", &read_only, "--ro", &alone, "--tmpfs", "/t"]);
    output(command.args(["--", "bash", "-c", script]))?.exits(0)?.stdout_is("w\nshown\nshown\nt\n")?;
    Ok(())
}
