//! What a browser keeps from one run to the next.

use crate::common::{Case, Need, User, Verdict};
use crate::picture::Colour;
use crate::server::Server;
use crate::stage::{Browser, finish, sandbox, shot};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Browser::Firefox.case(Case::new("kept::storage", storage)),
        Browser::Firefox.case(Case::new("kept::preference", preference)).needs(Need::Program("python3")),
    ]
}

const UNSET: Colour = [0, 0, 255];
const SET: Colour = [192, 64, 0];

/// What a site stores in one run is there in the next.
fn storage(user: &User) -> Verdict {
    let set = "<!doctype html><script>localStorage.setItem('colour', 'rgb(192,64,0)')</script>";
    let get = "<!doctype html><body><script>document.body.style.background = localStorage.getItem('colour') || 'rgb(0,0,255)'</script>";
    let server = Server::start(vec![("/set", set.to_owned()), ("/get", get.to_owned())])?;
    let visit =
        |path| shot(user, sandbox(user).args(Browser::Firefox.screenshot(user)).arg(server.url(path)));
    visit("/get")?.shows(UNSET, 95)?;
    visit("/set")?;
    visit("/get")?.shows(SET, 95)
}

/// A preference that is set in one run is there in the next.
fn preference(user: &User) -> Verdict {
    let client = user.put("marionette.py", include_str!("marionette.py"))?;
    let get = "return Services.prefs.getStringPref('sbx.test', 'unset')";
    let set = "Services.prefs.setStringPref('sbx.test', 'set')";
    for (script, result) in [(get, "\"unset\"\n"), (set, "null\n"), (get, "\"set\"\n")] {
        // Its port is the same for everybody, so it gets a network of its own.
        let mut sbx = sandbox(user);
        sbx.args(["--net", "none", "sh", "-c", IN_FIREFOX, "sh"]).arg(&client).arg(script);
        finish(&mut sbx)?.exits(0)?.stdout_is(result)?;
    }
    Ok(())
}

const IN_FIREFOX: &str = "firefox --headless --marionette --remote-allow-system-access >/dev/null 2>&1 &
    python3 \"$1\" \"$2\" || { kill $!; exit 1; }
    wait $!";
