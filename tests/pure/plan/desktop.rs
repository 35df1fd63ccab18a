//! What of a made-up desktop a plan hands over.

use crate::plan::given::{at, below, host, plan_on, refusal, variable, variables};
use sbx::host::{Desktop, DeviceNode, Host, X11Display};
use sbx::plan::{Content, MountOp, Plan};

const EVERYTHING: &str =
    "[display]\nwayland = true\nx11 = 'host'\n[audio]\nplayback = true\n[devices]\ngpu = true";

fn desktop() -> Desktop {
    Desktop {
        wayland: Some("/run/user/1000/wayland-1".into()),
        x11: X11Display::Local {
            number: 7,
            screen: ".1".to_owned(),
            socket: "/tmp/.X11-unix/X7".into(),
            cookies: vec![b"cookie".to_vec()],
        },
        sound: Some("/srv/pulse/native".into()),
        gpu: vec![DeviceNode {
            path: "/dev/dri/renderD128".into(),
            major: 226,
            minor: 128,
            link: Some("../../devices/pci/gpu/drm/renderD128".into()),
        }],
        gpu_sysfs: vec!["/sys/devices/pci/gpu".into()],
    }
}

fn with(desktop: Desktop) -> Host {
    let mut host = host();
    host.environment.extend(variables(&[("DISPLAY", ":7.1"), ("WAYLAND_DISPLAY", "wayland-1")]));
    Host { desktop: Some(desktop), ..host }
}

fn planned(desktop: Desktop, text: &str) -> Plan {
    plan_on(&with(desktop), &[text], &[]).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn nothing_is_given_that_nobody_asks_for() {
    let plan = planned(desktop(), "");
    assert_eq!(below(&plan, "/tmp"), ["/tmp private"]);
    assert_eq!(below(&plan, "/run/user"), ["/run/user/1000 dir"]);
    assert_eq!(below(&plan, "/sys"), [""; 0]);
    for name in ["DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "PULSE_SERVER"] {
        assert_eq!(variable_of(&plan, name), None, "{name}");
    }
    assert!(plan.exposed.is_empty());
}

#[test]
fn what_is_there_is_given() {
    let plan = planned(desktop(), EVERYTHING);
    assert_eq!(
        below(&plan, "/run/user"),
        [
            "/run/user/1000 dir",
            "/run/user/1000/Xauthority file",
            "/run/user/1000/pulse/client.conf file",
            "/run/user/1000/pulse/native rw /srv/pulse/native",
            "/run/user/1000/wayland-1 rw",
        ]
    );
    assert_eq!(below(&plan, "/tmp"), ["/tmp private", "/tmp/.X11-unix/X1007 rw /tmp/.X11-unix/X7"]);
    assert_eq!(below(&plan, "/dev/dri"), ["/dev/dri/renderD128 device"]);
    assert_eq!(
        below(&plan, "/sys"),
        ["/sys/dev/char/226:128 symlink ../../devices/pci/gpu/drm/renderD128", "/sys/devices/pci/gpu ro"]
    );
    for (name, wanted) in [
        ("DISPLAY", ":1007.1"),
        ("XAUTHORITY", "/run/user/1000/Xauthority"),
        ("WAYLAND_DISPLAY", "wayland-1"),
        ("XDG_SESSION_TYPE", "wayland"),
        ("PULSE_SERVER", "unix:/run/user/1000/pulse/native"),
        ("PULSE_CLIENTCONFIG", "/run/user/1000/pulse/client.conf"),
    ] {
        assert_eq!(variable_of(&plan, name), Some(wanted), "{name}");
    }
    assert_eq!(plan.exposed.len(), 4);
    let page = sbx::explain::text(&plan);
    assert!(page.contains("every key") && page.contains("recording"), "{page}");
}

#[test]
fn a_cookie_is_for_any_host_name_and_for_nobodys_eyes() {
    let plan = planned(desktop(), EVERYTHING);
    let file = at(&plan, "/run/user/1000/Xauthority").map(|mount| &mount.op);
    let Some(MountOp::File { content: Content::Secret(bytes), mode: 0o600 }) = file else {
        panic!("{file:?}")
    };
    let wanted = b"\xff\xff\0\0\0\x041007\0\x12MIT-MAGIC-COOKIE-1\0\x06cookie";
    assert_eq!(bytes, wanted);
    for page in [sbx::explain::text(&plan), sbx::explain::json(&plan).expect("JSON")] {
        assert!(!page.contains("cookie"), "{page}");
    }
    let none = X11Display::Local {
        number: 0,
        screen: String::new(),
        socket: "/tmp/.X11-unix/X0".into(),
        cookies: Vec::new(),
    };
    let plan = planned(Desktop { x11: none, wayland: None, ..desktop() }, "display.x11 = 'host'");
    assert_eq!(variable_of(&plan, "XAUTHORITY"), None);
    assert_eq!(variable_of(&plan, "DISPLAY"), Some(":1000"));
    assert_eq!(variable_of(&plan, "XDG_SESSION_TYPE"), Some("x11"));
}

#[test]
fn what_is_not_there_is_refused_where_it_is_required() {
    for (text, desktop, part) in [
        ("display.wayland = true", Desktop::default(), "`WAYLAND_DISPLAY` names no socket"),
        ("display.x11 = 'host'", Desktop::default(), "`DISPLAY` is not set"),
        ("display.x11 = 'host'", Desktop { x11: X11Display::Remote, ..desktop() }, "no local display"),
        (
            "display.x11 = 'host'",
            Desktop { x11: X11Display::Gone("/tmp/.X11-unix/X7".into()), ..desktop() },
            "there is no socket `/tmp/.X11-unix/X7`",
        ),
    ] {
        let error = refusal(&with(desktop), &[text], &[]);
        assert!(error.to_string().contains(part), "{text}: {error}");
        assert!(sbx::diag::Diagnose::hint(&error).is_some());
    }
    let plan = planned(
        Desktop::default(),
        "display.wayland = 'optional'\naudio.playback = true\ndevices.gpu = true",
    );
    assert!(plan.exposed.is_empty() && below(&plan, "/sys").is_empty());
    assert_eq!(below(&plan, "/run/user"), ["/run/user/1000 dir"]);
    // A profile that is only checked is checked on any machine.
    assert!(plan_on(&host(), &[EVERYTHING], &[]).is_ok());
}

#[test]
fn a_profile_and_an_option_have_the_last_word() {
    let host = with(desktop());
    let text = format!(
        "{EVERYTHING}\n[environment]\nset = {{ DISPLAY = ':9' }}\n[filesystem]\nhide = ['/run/user/1000/pulse']"
    );
    let plan = plan_on(&host, &[&text], &["--env", "XAUTHORITY=/x"]).expect("a plan");
    assert_eq!(variable_of(&plan, "DISPLAY"), Some(":9"));
    assert_eq!(variable_of(&plan, "XAUTHORITY"), Some("/x"));
    assert_eq!(below(&plan, "/run/user/1000/pulse"), ["/run/user/1000/pulse hide"]);
}

fn variable_of<'a>(plan: &'a Plan, name: &str) -> Option<&'a str> {
    variable(plan, name).and_then(|value| value.to_str())
}
