//! Small tools of every day: shells, archives, databases, keys, editors, downloads.

use crate::common::{Case, User, Verdict, case, output};
use crate::job::{Job, with};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        with(case!(bash_runs_a_script), &["bash", "diff"]),
        with(case!(tar_packs_and_unpacks), &["tar", "gzip"]),
        with(case!(sqlite3_keeps_a_database), &["sqlite3"]),
        with(case!(perl_runs_a_script), &["perl"]),
        with(case!(ssh_keygen_signs), &["ssh-keygen"]),
        with(case!(vim_writes_a_file), &["vim.tiny"]),
        with(case!(curl_reaches_what_the_network_option_says), &["curl"]),
    ]
}

fn bash_runs_a_script(user: &User) -> Verdict {
    Job {
        options: &["--profile", "default"],
        files: &[("work.bash", include_str!("fixtures/work.bash"))],
        command: &["bash", "work.bash"],
        prints: "all done\n",
    }
    .works_inside(user)
}

fn tar_packs_and_unpacks(user: &User) -> Verdict {
    Job {
        options: &["--profile", "default"],
        files: &[("tree/a", "one\n"), ("tree/deep/b", "two\n")],
        command: &[
            "sh",
            "-c",
            "ln -s deep/b tree/link && ln tree/a tree/hard && mkfifo tree/fifo && chmod 711 tree/a \
             && tar -czf tree.tar.gz tree && mkdir out && tar -xpzf tree.tar.gz -C out \
             && cd out/tree && stat -c '%n %A %h %s' a hard deep/b && readlink link && cat link && test -p fifo",
        ],
        prints: "deep/b\ntwo\n",
    }
    .works_inside(user)
}

fn sqlite3_keeps_a_database(user: &User) -> Verdict {
    Job {
        options: &["--profile", "default"],
        files: &[],
        command: &[
            "sh",
            "-c",
            "sqlite3 -batch data.db 'pragma journal_mode=wal; create table t(x); \
             with recursive n(i) as (select 1 union all select i + 1 from n where i < 10000) insert into t select i from n;' \
             && sqlite3 -batch data.db 'select sum(x) from t; pragma integrity_check'",
        ],
        prints: "wal\n50005000\nok\n",
    }
    .works_inside(user)
}

fn perl_runs_a_script(user: &User) -> Verdict {
    Job {
        options: &["--profile", "default"],
        files: &[],
        command: &[
            "perl",
            "-e",
            "pipe(R, W); my $pid = fork // die; if (!$pid) { print W 'from the child'; exit 3 } \
             close W; my $said = <R>; waitpid $pid, 0; print \"$said ends with \", $? >> 8, \"\\n\"; \
             print join(',', sort map { $_ * $_ } 1 .. 4), \"\\n\"; print +(getpwuid $<)[7] eq $ENV{HOME} || 1, \"\\n\"",
        ],
        prints: "from the child ends with 3\n1,16,4,9\n",
    }
    .works_inside(user)
}

fn ssh_keygen_signs(user: &User) -> Verdict {
    Job {
        options: &["--profile", "default"],
        files: &[("text", "to be signed\n")],
        command: &[
            "sh",
            "-c",
            "ssh-keygen -q -t ed25519 -N '' -C ann -f key && ssh-keygen -q -Y sign -f key -n file text 2>sign.log \
             && printf 'ann %s\\n' \"$(cat key.pub)\" >signers && stat -c %a key \
             && ssh-keygen -Y verify -f signers -I ann -n file -s text.sig <text | sed 's/ key SHA256:.*//'",
        ],
        prints: "600\nGood \"file\" signature for ann with ED25519\n",
    }
    .works_inside(user)
}

/// Its swap file lies beside the file while it is open, and is gone afterwards.
fn vim_writes_a_file(user: &User) -> Verdict {
    Job {
        options: &["--profile", "default"],
        files: &[("poem", "one\ntwo\nthree\n")],
        command: &[
            "sh",
            "-c",
            "vim.tiny -u NONE -es -c 'set directory=. backup backupdir=. swapfile' -c '2s/two/zwei/' \
             -c 'silent !ls .*.swp >swaps' -c wq poem; echo $?; cat swaps poem poem~; ls -A",
        ],
        prints: "0\n.poem.swp\none\nzwei\nthree\none\ntwo\nthree\n",
    }
    .works_inside(user)
}

fn curl_reaches_what_the_network_option_says(user: &User) -> Verdict {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}/", listener.local_addr()?);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let mut connection = connection;
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nserved");
        }
    });
    let curl = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20"];
    let host = output(user.sbx().args(["--net", "host"]).args(curl).arg(&address))?;
    host.exits(0)?.stdout_is("served")?;
    let none = output(user.sbx().args(curl).arg(&address))?;
    // 7: no connection.
    none.exits(7)?.stdout_is("")?;
    Ok(())
}
