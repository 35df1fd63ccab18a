//! Carries out the verbs about sandboxes that run, and about what they leave.
#![forbid(unsafe_code)]

mod layers;

use std::ffi::OsString;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::cli::{Format, ListFormat, Verb};
use crate::diag::quote;
use crate::exec::{self, ExecError, Further, Outcome};
use crate::host::Host;
use crate::invocation::EnvFlag;
use crate::manage::{self, Columns, ManageError, Seen};
use crate::registry::{Live, Registry};

/// How often `sbx stats --watch` looks.
const PERIOD: Duration = Duration::from_secs(1);

/// What came of a verb.
pub(crate) enum Done {
    /// It is done, and there may be something to print.
    Printed(String),
    /// What a program in a sandbox has come to.
    Ended(Outcome),
}

/// Why a verb was not carried out.
pub(crate) enum Failed {
    /// By the sandbox, or for want of it.
    Manage(ManageError),
    /// A further program did not run.
    Exec(ExecError),
}

impl From<ManageError> for Failed {
    fn from(error: ManageError) -> Self {
        Self::Manage(error)
    }
}

/// Carries a verb out. `print` is for what is printed again and again; it says whether somebody still reads.
pub(crate) fn carry_out(verb: Verb, mut host: Host, print: impl Fn(&str) -> bool) -> Result<Done, Failed> {
    let path = host.session_dir.as_ref().map(|dir| dir.join("sbx"));
    // Layers need none.
    let registry = || manage::registry(path.as_deref());
    let each = |names: &[String], act: &dyn Fn(&Live) -> Result<(), ManageError>| -> Result<Done, Failed> {
        // A name that is wrong keeps nothing from being done, and nothing is done twice.
        let registry = registry()?;
        let live =
            names.iter().map(|name| manage::find(registry.as_ref(), name)).collect::<Result<Vec<_>, _>>()?;
        live.iter().try_for_each(act)?;
        Ok(Done::Printed(String::new()))
    };
    match verb {
        Verb::Ps { format } => Ok(Done::Printed(list(registry()?.as_ref(), format))),
        Verb::Stats { names, watch, format } => stats(registry()?.as_ref(), &names, watch, format, print),
        Verb::Freeze { names, stop } => each(&names, &|live| manage::freeze(live, stop)),
        Verb::Stop { names, grace } => each(&names, &|live| manage::stop(live, grace)),
        Verb::Limit { name, settings } => {
            let live = manage::find(registry()?.as_ref(), &name)?;
            manage::limit(&live, &settings, &mut host)?;
            Ok(Done::Printed(String::new()))
        }
        Verb::Exec { name, env, chdir, command } => {
            let live = manage::find(registry()?.as_ref(), &name)?;
            further(&live, &host, &env, chdir.as_deref(), &command)
        }
        Verb::Layers { format } => layers::list(&host, format),
        Verb::Discard { names } => layers::discard(&host, &names),
    }
}

fn list(registry: Option<&Registry>, format: ListFormat) -> String {
    match (registry, format) {
        // A shell asks while somebody types.
        (Some(registry), ListFormat::Names) => registry.names().into_iter().map(|name| name + "\n").collect(),
        (None, ListFormat::Names) => String::new(),
        (_, ListFormat::Json) => manage::json(&seen(registry)),
        (_, ListFormat::Text) => manage::text(&seen(registry), Columns::List),
    }
}

fn seen(registry: Option<&Registry>) -> Vec<Seen> {
    registry.map(Registry::all).unwrap_or_default().iter().map(Seen::of).collect()
}

fn stats(
    registry: Option<&Registry>,
    names: &[String],
    watch: bool,
    format: Format,
    print: impl Fn(&str) -> bool,
) -> Result<Done, Failed> {
    let look = || -> Result<String, ManageError> {
        let found = match names {
            [] => seen(registry),
            names => {
                let live = names.iter().map(|name| manage::find(registry, name).map(|live| Seen::of(&live)));
                live.collect::<Result<_, _>>()?
            }
        };
        Ok(match format {
            Format::Json => manage::json(&found),
            Format::Text => manage::text(&found, Columns::Use),
        })
    };
    let mut text = look()?;
    while watch && print(&text) {
        sleep(PERIOD);
        text = look()?;
    }
    Ok(Done::Printed(if watch { String::new() } else { text }))
}

fn further(
    live: &Live,
    host: &Host,
    env: &[EnvFlag],
    directory: Option<&Path>,
    words: &[OsString],
) -> Result<Done, Failed> {
    let mut variables = Vec::new();
    // What tells of the caller's terminal, which may be another one than the sandbox was started in.
    let terminal = ["TERM", "COLORTERM"].map(|name| EnvFlag { name: name.into(), value: None });
    for EnvFlag { name, value } in terminal.iter().chain(env) {
        let own = || host.variable(&name.to_string_lossy()).map(ToOwned::to_owned);
        let Some(value) = value.clone().or_else(own) else {
            if terminal.iter().any(|flag| flag.name == *name) {
                continue;
            }
            let message = format!("cannot pass on the variable {}: it is not set", quote(name));
            return Err(Failed::Exec(ExecError::Refused { message, status: 125 }));
        };
        let mut text = name.clone();
        text.push("=");
        text.push(value);
        variables.push(text);
    }
    let further = Further { words, variables: &variables, directory };
    exec::attach(live, further).map(Done::Ended).map_err(Failed::Exec)
}
