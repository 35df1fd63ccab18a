//! Limits of namespaces, real ones: in an outer user namespace its owner may set them.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::support::{refused, shell};

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(switched_off),
        case!(switched_off_and_not_wanted),
        case!(switched_off_for_an_ordinary_user).needs(Need::Program("setpriv")),
        case!(used_up),
        case!(nested_too_deep),
        case!(no_more_processes).only_as_user(),
    ];
    cases.into_iter().map(|case| case.needs(Need::Program("unshare"))).collect()
}

const NOTHING: &[&str] = &[];

fn switched_off(user: &User) -> Verdict {
    for kind in ["user", "mnt", "pid", "uts", "ipc", "cgroup", "net"] {
        let script = format!("echo 0 >/proc/sys/user/max_{kind}_namespaces && exec $SBX touch it-ran");
        let mut command = shell(user, "exec unshare -Ur sh -c \"$1\"", &[&script]);
        let error =
            format!("namespaces: {kind} namespaces are switched off: `user.max_{kind}_namespaces` is 0");
        let hint = format!("as root: sysctl -w user.max_{kind}_namespaces=");
        refused(user, &mut command, 125, &error, Some(&hint))?;
    }
    Ok(())
}

/// Where the host's network is wanted, no network namespace is.
fn switched_off_and_not_wanted(user: &User) -> Verdict {
    let script = "exec unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_net_namespaces && exec $SBX --net host echo fine'";
    output(&mut shell(user, script, NOTHING))?.exits(0)?.stdout_is("fine\n")?;
    Ok(())
}

/// The same without a capability in the outer namespace, as its own user.
fn switched_off_for_an_ordinary_user(user: &User) -> Verdict {
    let script = "exec unshare -U --map-current-user --keep-caps sh -c 'echo 0 >/proc/sys/user/max_user_namespaces && \
                  exec setpriv --ambient-caps -all --inh-caps -all --bounding-set -all $SBX touch it-ran'";
    let error = "user namespaces are switched off: `user.max_user_namespaces` is 0";
    refused(user, &mut shell(user, script, NOTHING), 125, error, Some("as root: sysctl -w"))?;
    Ok(())
}

fn used_up(user: &User) -> Verdict {
    let script = "exec unshare -Ur sh -c 'echo 1 >/proc/sys/user/max_user_namespaces; unshare -U sleep 30 & \
                  while [ \"$(readlink /proc/$!/ns/user)\" = \"$(readlink /proc/self/ns/user)\" ]; do sleep 0.05; done; \
                  $SBX touch it-ran; code=$?; kill $!; wait $! 2>/dev/null; exit $code'";
    let error = "the limit of namespaces is reached: one of `user.max_*_namespaces`";
    refused(
        user,
        &mut shell(user, script, NOTHING),
        125,
        error,
        Some("end other sandboxes, or as root raise"),
    )?;
    Ok(())
}

/// The kernel nests user namespaces 33 deep (user_namespaces(7)).
fn nested_too_deep(user: &User) -> Verdict {
    let script = "exec 2>&3; unshare -U --map-current-user sh -c \"$DEEPER\" 2>/dev/null; code=$?; \
                  [ -e deepest ] && exit $code; echo >deepest; exec $SBX touch it-ran";
    let mut command = shell(user, "exec 3>&2; exec sh -c \"$DEEPER\"", NOTHING);
    command.env("DEEPER", script);
    refused(user, &mut command, 125, "or 32 nested levels", Some("end other sandboxes"))?;
    Ok(())
}

fn no_more_processes(user: &User) -> Verdict {
    let mut command = shell(user, "ulimit -u 1 2>/dev/null || ulimit -p 1; exec $SBX touch it-ran", NOTHING);
    let hint = Some("end some processes, or raise the limit (`ulimit -u`)");
    refused(user, &mut command, 125, "the user's limit of processes is reached", hint)?;
    Ok(())
}
