//! Namespaces: which are the sandbox's own, what their insides show, and which it may nest.

use crate::common::edited::Edit;
use crate::common::{Case, Need, Running, User, Verdict, case, output, process, wait_for};
use crate::probe::{edited_sh, sh};
use libtest_mimic::Failed;
use sbx::plan::{MountOp, Plan};
use sbx::profile::{Nested, Setting, TimeOffsets};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpListener;

pub(crate) const EDITS: &[Edit] = &[
    ("shared", |plan| {
        let namespaces = &mut plan.namespaces;
        (namespaces.uts, namespaces.ipc, namespaces.cgroup) = (false, false, false);
        // Only the owner of the IPC namespace may mount its queues.
        plan.mounts.retain(|mount| mount.op != MountOp::Mqueue);
    }),
    ("no-scope", |plan| plan.landlock_scope.clear()),
    ("filter-alone", |plan| plan.namespaces.nested = Setting::default_value(Nested::Full)),
    ("ceiling-alone", |plan| plan.seccomp = None),
    ("no-ceiling", |plan| {
        plan.namespaces.nested = Setting::default_value(Nested::Full);
        plan.seccomp = None;
    }),
    ("later", |plan| clocks(plan, 3600, -5)),
    ("before-boot", |plan| clocks(plan, -1_000_000_000, 0)),
];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(all_namespaces_are_its_own),
        case!(an_edited_plan_shares_them),
        case!(the_network_is_loopback_only).needs(Need::Program("perl")),
        case!(the_hosts_network_when_asked),
        case!(the_hosts_name_stays),
        case!(clocks_are_shifted),
        case!(abstract_sockets_are_scoped).needs(Need::Kernel(6, 12)),
        case!(nothing_nests_by_default),
        case!(a_browser_nests_all_but_mounts).only_as_user(),
        case!(roots_browser_nests_nothing).only_as_root(),
        case!(everything_nests_when_asked).only_as_user(),
        case!(root_cannot_have_everything).only_as_root(),
    ]
}

fn clocks(plan: &mut Plan, boottime: i64, monotonic: i64) {
    const SECOND: i64 = 1_000_000_000;
    let offsets = TimeOffsets { boottime: boottime * SECOND, monotonic: monotonic * SECOND };
    plan.namespaces.time = Some(Setting::default_value(offsets));
}

/// A sandbox that waits, and the namespaces of its payload, seen from outside.
fn started(mut command: std::process::Command) -> Result<(Running, BTreeMap<String, String>), Failed> {
    let running = Running::start(command.args(["sleep", "1000"]))?;
    let payload = wait_for("the payload", || {
        let pid = *process::descendants(running.pid()).get(1)?;
        (std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()? == "sleep\n").then_some(pid)
    })?;
    Ok((running, process::namespaces(payload)?))
}

fn namespaces(command: std::process::Command) -> Result<BTreeMap<String, String>, Failed> {
    Ok(started(command)?.1)
}

/// The names of the namespaces that are not the test's.
fn own(namespaces: &BTreeMap<String, String>) -> Result<Vec<String>, Failed> {
    let outside = process::namespaces(process::own_pid())?;
    let own = namespaces
        .iter()
        .filter(|(name, id)| outside.get(*name) != Some(id) && !name.ends_with("for_children"));
    Ok(own.map(|(name, _)| name.clone()).collect())
}

fn is(found: &[String], wanted: &[&str]) -> Verdict {
    if found == wanted { Ok(()) } else { Err(format!("its own: {found:?}, should be {wanted:?}").into()) }
}

fn all_namespaces_are_its_own(user: &User) -> Verdict {
    is(&own(&namespaces(user.sbx())?)?, &["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"])?;
    let mut command = user.sbx();
    command.args(["--net", "host"]);
    is(&own(&namespaces(command)?)?, &["cgroup", "ipc", "mnt", "pid", "user", "uts"])?;
    // Two sandboxes at the same time share nothing with each other.
    let ((_first, one), (_second, two)) = (started(user.sbx())?, started(user.sbx())?);
    let shared: Vec<_> =
        one.iter().filter(|(name, id)| two.get(*name) == Some(id)).map(|(name, _)| name).collect();
    if shared.iter().all(|name| name.starts_with("time")) {
        Ok(())
    } else {
        Err(format!("shared: {shared:?}").into())
    }
}

fn an_edited_plan_shares_them(user: &User) -> Verdict {
    is(&own(&namespaces(user.edited("shared"))?)?, &["mnt", "net", "pid", "user"])
}

fn the_network_is_loopback_only(user: &User) -> Verdict {
    let program = r#"
        use Socket qw(:all);
        my ($server, $client, $other);
        for my $to (pack_sockaddr_in(0, inet_aton("127.0.0.1")), pack_sockaddr_in6(0, inet_pton(AF_INET6, "::1"))) {
            my $family = sockaddr_family($to);
            socket($server, $family, SOCK_STREAM, 0) && bind($server, $to) && listen($server, 1) or die "listen: $!";
            socket($client, $family, SOCK_STREAM, 0) && connect($client, getsockname($server)) or die "connect: $!";
            print "connected\n";
        }
        for my $to (pack_sockaddr_in(9, inet_aton("192.0.2.1")), pack_sockaddr_in6(9, inet_pton(AF_INET6, "2001:db8::1"))) {
            socket($other, sockaddr_family($to), SOCK_STREAM, 0) or die;
            connect($other, $to) and die "connected";
            print "$!\n";
        }"#;
    let out = output(user.sbx().args(["perl", "-e", program]))?;
    out.exits(0)?.stdout_is("connected\nconnected\nNetwork is unreachable\nNetwork is unreachable\n")?;
    let devices =
        sh(user, &[], "tail -n +3 /proc/net/dev | cut -d: -f1; tail -n +2 /proc/net/route | wc -l")?;
    devices.exits(0)?.check(devices.text().replace(' ', "") == "lo\n0\n", || "lo, no route".to_owned())?;
    Ok(())
}

fn the_hosts_network_when_asked(user: &User) -> Verdict {
    let server = TcpListener::bind("127.0.0.1:0")?;
    server.set_nonblocking(true)?;
    let script = format!("echo hello >/dev/tcp/127.0.0.1/{}", server.local_addr()?.port());
    output(user.sbx().args(["bash", "-c", &script]))?.exits(1)?.stderr_has("Connection refused")?;
    if server.accept().is_ok() {
        return Err("it reached the host".into());
    }
    output(user.sbx().args(["--net", "host", "bash", "-c", &script]))?.exits(0)?;
    let (mut stream, _) = server.accept()?;
    let mut text = String::new();
    stream.set_nonblocking(false)?;
    stream.read_to_string(&mut text)?;
    if text == "hello\n" { Ok(()) } else { Err(format!("{text:?} arrived").into()) }
}

fn the_hosts_name_stays(user: &User) -> Verdict {
    let before = nix::unistd::gethostname()?;
    sh(
        user,
        &["--hostname", "inner"],
        "uname -n; hostname other; echo x >/proc/sys/kernel/hostname; uname -n",
    )?
    .stdout_is("inner\ninner\n")?;
    if nix::unistd::gethostname()? == before { Ok(()) } else { Err("the host's name changed".into()) }
}

fn uptime(text: &str) -> f64 {
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

fn clocks_are_shifted(user: &User) -> Verdict {
    let outside = || std::fs::read_to_string("/proc/uptime").map(|text| uptime(&text));
    let shift = |out: &crate::common::Output| Ok::<_, Failed>(uptime(&out.exits(0)?.text()) - outside()?);
    let look = "cat /proc/uptime; cat /proc/self/timens_offsets >&2";
    let plain = sh(user, &[], look)?;
    plain.check(shift(&plain)?.abs() < 5.0, || "the host's clock".to_owned())?;
    let later = edited_sh(user, "later", look)?;
    later.check((3595.0..3601.0).contains(&shift(&later)?), || "an hour later".to_owned())?;
    let offsets: Vec<_> = later.errors().split_whitespace().map(str::to_owned).collect();
    let wanted = ["monotonic", "-5", "0", "boottime", "3600", "0"];
    later.check(offsets == wanted, || format!("offsets {wanted:?}"))?;
    let set = sh(user, &["--set", "namespaces.time={ boottime = \"2h\" }"], look)?;
    set.check((7195.0..7201.0).contains(&shift(&set)?), || "two hours later".to_owned())?;
    // Before the machine's start there was no time.
    edited_sh(user, "before-boot", "echo ran")?
        .exits(125)?
        .stdout_is("")?
        .stderr_has("cannot shift the clocks")?;
    Ok(())
}

/// Without a map: the kernel lets nobody map root who started as root without `CAP_SETFCAP` (user_namespaces(7)).
const NESTING: [(&str, &str); 4] = [
    ("user", "unshare -U true"),
    ("net", "unshare -Un true"),
    ("pid", "unshare -Upf true"),
    ("mnt", "unshare -Um true"),
];

fn nests(user: &User, options: &[&str]) -> Result<(Vec<&'static str>, String), Failed> {
    let mut works = Vec::new();
    let mut errors = String::new();
    for (name, script) in NESTING {
        let out = sh(user, options, script)?;
        if out.status.success() {
            works.push(name);
        }
        errors += &out.errors();
    }
    Ok((works, errors))
}

fn nothing_nests_by_default(user: &User) -> Verdict {
    let (works, errors) = nests(user, &[])?;
    if !works.is_empty() || errors.matches("Operation not permitted").count() != 4 {
        return Err(format!("works: {works:?}\n{errors}").into());
    }
    // Each wall alone, and none.
    for (edit, error) in
        [("filter-alone", "Operation not permitted"), ("ceiling-alone", "No space left on device")]
    {
        for (_, script) in NESTING {
            let mut command = user.edited(edit);
            output(command.args(["sh", "-c", script]))?.stderr_has(error)?;
        }
    }
    sh(user, &[], "cat /proc/sys/user/max_user_namespaces; echo 9 >/proc/sys/user/max_user_namespaces")?
        .stdout_is("0\n")?;
    edited_sh(user, "no-ceiling", "unshare -Um true && echo got through")?.stdout_is("got through\n")?;
    Ok(())
}

fn a_browser_nests_all_but_mounts(user: &User) -> Verdict {
    let (works, errors) = nests(user, &["--set", "namespaces.nested=browser"])?;
    if works == ["user", "net", "pid"] && errors.contains("No space left on device") {
        Ok(())
    } else {
        Err(format!("works: {works:?}\n{errors}").into())
    }
}

/// It could make user namespaces, but map nobody there.
fn roots_browser_nests_nothing(user: &User) -> Verdict {
    let (works, errors) = nests(user, &["--set", "namespaces.nested=browser"])?;
    if works.is_empty() { Ok(()) } else { Err(format!("works: {works:?}\n{errors}").into()) }
}

fn everything_nests_when_asked(user: &User) -> Verdict {
    let options = ["--set", "namespaces.nested=full"];
    let (works, errors) = nests(user, &options)?;
    if works.len() != 4 {
        return Err(format!("works: {works:?}\n{errors}").into());
    }
    let script = "unshare -Urmpf --mount-proc sh -c 'mount -t tmpfs t /tmp && : >/tmp/inner && ls /tmp && echo $$'; ls /tmp";
    sh(user, &options, script)?.exits(0)?.stdout_is("inner\n1\n")?;
    Ok(())
}

fn root_cannot_have_everything(user: &User) -> Verdict {
    let out = sh(user, &["--set", "namespaces.nested=full"], "echo ran")?;
    out.exits(125)?.stdout_is("")?.stderr_has("to a sandbox that root starts")?.stderr_has("hint: ")?;
    Ok(())
}

/// With the host's network, its abstract sockets are in the same namespace: only Landlock stands between.
fn abstract_sockets_are_scoped(user: &User) -> Verdict {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = format!("sbx-test-{}-{}", std::process::id(), user.uid());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let connect = format!(
        "socket(S, PF_UNIX, SOCK_STREAM, 0) or die; connect(S, pack_sockaddr_un(\"\\0{name}\")) or die \"$!\\n\"; print 'through'"
    );
    let script = ["--net", "host", "perl", "-MSocket", "-e", &connect];
    output(user.sbx().args(script))?.stderr_is("Operation not permitted\n")?.stdout_is("")?;
    output(user.edited("no-scope").args(script))?.exits(0)?.stdout_is("through")?;
    drop(listener);
    Ok(())
}
