//! The three completion scripts: the same verbs, options, values and keys as the program has, and what it would only refuse left
//! out.

use super::examples::shell_words;
use super::*;
use std::collections::BTreeMap;

/// One option of a verb, as far as a shell is told of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Offer {
    long: String,
    short: Option<char>,
    valued: bool,
    summary: String,
    words: Vec<String>,
}

/// The options of each verb.
type Table = BTreeMap<String, BTreeSet<Offer>>;

/// Closed sets that clap knows by a function only.
const SETS: &[(&str, &[&str])] = &[("cwd", CwdMode::WORDS), ("net", NetworkMode::WORDS)];

fn script(name: &str) -> String {
    read(&format!("packaging/completions/{name}"))
}

fn owned<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    words.into_iter().map(str::to_owned).collect()
}

fn works(line: &[&str]) -> bool {
    !is_refused([owned(line.iter().copied())])
}

/// What the help says first.
fn summary(help: &str) -> String {
    let end = ["; ", " (", ": "].iter().filter_map(|sign| help.find(sign)).min();
    help[..end.unwrap_or(help.len())].to_owned()
}

/// What the program has and does not refuse.
fn of_the_program() -> Table {
    let offer = |argument: &clap::Arg| {
        let long = argument.get_long()?.to_owned();
        let valued = argument.get_action().takes_values();
        let possible = argument.get_possible_values();
        let words = match SETS.iter().find(|(name, _)| *name == long) {
            Some((name, words)) => {
                let takes = |word: &&str| works(&[&format!("--{name}"), word, "true"]);
                owned(words.iter().copied().filter(takes))
            }
            None if valued => owned(possible.iter().map(clap::builder::PossibleValue::get_name)),
            None => Vec::new(),
        };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        Some(Offer { long, short: argument.get_short(), valued, summary: summary(&help), words })
    };
    let commands = cli::commands();
    let table = commands.iter().map(|command| {
        let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let verb = command.get_name().strip_prefix("sbx ").unwrap_or("run");
        (verb.to_owned(), shown.filter_map(offer).collect())
    });
    table.collect()
}

/// The verbs that do something, with what the help says of them.
fn verbs_of_the_program() -> Vec<(String, String)> {
    let help = cli::commands()[0].get_after_help().map(ToString::to_string).unwrap_or_default();
    let lines = help.lines().skip(1).map_while(|line| line.trim_start().split_once(' '));
    let verbs: Vec<_> = lines.map(|(verb, text)| (verb.to_owned(), text.trim().to_owned())).collect();
    let built = cli::VERBS
        .iter()
        .filter(|verb| !matches!(cli::parse(&[OsString::from(verb)]), Err(UsageError::ReservedVerb(_))));
    assert_eq!(set(verbs.iter().map(|(verb, _)| verb.as_str())), set(built.copied()), "verbs of the help");
    verbs
}

/// What stands between two texts, the second one of which is the first after it.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).unwrap_or_else(|| panic!("there is no {start:?}")).1;
    rest.split_once(end).unwrap_or_else(|| panic!("there is no {end:?} after {start:?}")).0
}

fn bash_table(text: &str) -> Table {
    let body = between(text, "_sbx_options() {\n", "\n}\n");
    let value = |name: &str| between(body, &format!("local {name}='"), "'");
    let words = |verb: &str, long: &str| {
        let choices = |pattern: String| {
            text.split_once(&format!(" {pattern}) choices='")).map(|(_, rest)| rest.split('\'').next())
        };
        let found = choices(format!("{verb}--{long}")).or_else(|| choices(format!("*--{long}"))).flatten();
        owned(found.unwrap_or_default().split_whitespace())
    };
    let mut table = Table::new();
    for line in body.lines().filter_map(|line| line.trim().strip_suffix(";;")) {
        let (verb, reply) = line.split_once(") REPLY=").expect("what an entry looks like");
        if verb == "*" {
            continue;
        }
        let mut reply = reply.trim().trim_matches('"').to_owned();
        for name in ["settings", "messages"] {
            reply = reply.replace(&format!("${name}"), value(name));
        }
        let offer = |verb: &str, word: &str| {
            let long = word.trim_start_matches("--").trim_end_matches('=').to_owned();
            let (short, summary, words) = (None, String::new(), words(verb, &long));
            Offer { valued: word.ends_with('='), short, summary, words, long }
        };
        for verb in verb.split(" | ") {
            let offer = |word| offer(verb, word);
            table.insert(verb.to_owned(), reply.split_whitespace().map(offer).collect());
        }
    }
    table
}

/// A specification for `_arguments`.
fn zsh_offer(text: &str) -> Offer {
    let (head, rest) = text.split_once('[').unwrap_or_else(|| panic!("{text} has no description"));
    let (summary, tail) = rest.split_once(']').unwrap_or_else(|| panic!("{text} has an open bracket"));
    // Behind the options that it excludes.
    let head = head.rsplit(')').next().unwrap_or_default();
    let names = head.split(['{', '}', ',', '\'', '"', '*']).filter(|name| name.starts_with('-'));
    let (longs, shorts): (Vec<&str>, Vec<&str>) = names.partition(|name| name.starts_with("--"));
    let words = tail.split_once(":(").and_then(|(_, words)| words.split(')').next()).unwrap_or_default();
    assert_eq!((longs.len(), shorts.len() < 2), (1, true), "{text} has one long name");
    let valued = longs[0].ends_with('=');
    assert_eq!(valued, tail.contains(':'), "{text}: a value");
    Offer {
        long: longs[0].trim_start_matches("--").trim_end_matches('=').to_owned(),
        short: shorts.first().and_then(|short| short.chars().nth(1)),
        valued,
        summary: summary.to_owned(),
        words: owned(words.split_whitespace()),
    }
}

fn zsh_table(text: &str) -> Table {
    let body = between(text, "\n_sbx() {\n", "\n}\n");
    let group = |name: &str| -> Vec<Offer> {
        let start = format!("\n  {name}=(");
        let one_line = between(body, &start, "\n");
        match one_line.strip_suffix(')') {
            Some(item) => vec![zsh_offer(item)],
            None => between(body, &format!("{start}\n"), "\n  )").lines().map(zsh_offer).collect(),
        }
    };
    let mut table = Table::new();
    for line in body.lines().filter(|line| line.contains(") options=(")) {
        let (verb, rest) = line.trim().split_once(") options=(").expect("just found");
        let groups = rest.split(')').next().unwrap_or_default().split_whitespace();
        let offers: BTreeSet<Offer> = groups.flat_map(|name| group(name.trim_start_matches('$'))).collect();
        table.extend(verb.split('|').map(|verb| (verb.to_owned(), offers.clone())));
    }
    table
}

/// The lines of `complete`, each as its options with their values.
fn fish_lines(text: &str) -> Vec<BTreeMap<String, String>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("complete -c sbx "));
    let options = lines.map(|line| {
        let mut options = BTreeMap::new();
        let mut words = shell_words(line).into_iter();
        while let Some(word) = words.next() {
            let valued = ["-n", "-s", "-l", "-a", "-d"].contains(&word.as_str());
            assert!(valued || ["-x", "-r", "-f", "-F"].contains(&word.as_str()), "{line}: {word}");
            options.insert(word, if valued { words.next().unwrap_or_default() } else { String::new() });
        }
        options
    });
    options.collect()
}

fn fish_table(text: &str) -> Table {
    let mut table = Table::new();
    for line in fish_lines(text) {
        let Some(long) = line.get("-l") else { continue };
        let (condition, words) = (&line["-n"], line.get("-a").filter(|words| !words.starts_with('(')));
        let offer = Offer {
            long: long.clone(),
            short: line.get("-s").and_then(|short| short.chars().next()),
            valued: line.contains_key("-x") || line.contains_key("-r"),
            summary: line["-d"].clone(),
            words: owned(words.map(String::as_str).unwrap_or_default().split_whitespace()),
        };
        for verb in condition.strip_prefix("__sbx_in ").expect("a condition").split(' ') {
            table.entry(verb.to_owned()).or_default().insert(offer.clone());
        }
    }
    table
}

#[test]
fn options_and_values() {
    let expected = of_the_program();
    assert!(expected["run"].len() > 15, "{expected:?}");
    assert_eq!(zsh_table(&script("_sbx")), expected, "zsh (left) and the program (right)");
    let fish = script("sbx.fish");
    assert_eq!(fish_table(&fish), expected, "fish (left) and the program (right)");
    let valued = set(between(&fish, "set -l valued ", "\n").split(' '));
    let of_runs = expected["run"].iter().chain(&expected["explain"]).filter(|offer| offer.valued);
    assert_eq!(valued, set(of_runs.map(|offer| offer.long.as_str())), "options with a value in fish");
    let shorts = expected.values().flatten().filter(|offer| offer.valued).filter_map(|offer| offer.short);
    assert_eq!(shorts.collect::<BTreeSet<char>>(), BTreeSet::from(['p']), "what bash and fish know of");
    // bash has no place for the rest.
    let plain = |offer: Offer| Offer { short: None, summary: String::new(), ..offer };
    let plain = |(verb, offers): (String, BTreeSet<Offer>)| (verb, offers.into_iter().map(plain).collect());
    let expected: Table = expected.into_iter().map(plain).collect();
    assert_eq!(bash_table(&script("sbx.bash")), expected, "bash (left) and the program (right)");
}

#[test]
fn verbs() {
    let expected = verbs_of_the_program();
    let names: Vec<&str> = expected.iter().map(|(verb, _)| verb.as_str()).collect();
    let fish = script("sbx.fish");
    let offered = fish_lines(&fish)
        .into_iter()
        .filter(|line| line.get("-n").is_some_and(|when| when == "__sbx_at_first"));
    let offered: Vec<_> = offered.map(|line| (line["-a"].clone(), line["-d"].clone())).collect();
    assert_eq!(offered, expected, "fish (left) and the program (right)");
    assert_eq!(between(&fish, "contains -- \"$words[1]\" ", "\n"), names.join(" "), "fish");
    let zsh = script("_sbx");
    let offered = between(&zsh, "verbs=(\n", "\n  )\n").lines().map(|line| {
        let (verb, text) = line.trim().trim_matches('\'').split_once(':').expect("a verb and its text");
        (verb.to_owned(), text.to_owned())
    });
    assert_eq!(offered.collect::<Vec<_>>(), expected, "zsh (left) and the program (right)");
    assert_eq!(between(&zsh, "$words[2] == (", ")"), names.join("|"), "zsh");
    let bash = script("sbx.bash");
    assert_eq!(between(&bash, "local verbs='", "'"), names.join(" "), "bash");

    let commands = cli::commands();
    let mut arguments = commands.iter().flat_map(clap::Command::get_arguments);
    let shell = arguments.find(|argument| argument.get_id() == "shell").expect("completions has one");
    let shells: Vec<_> =
        shell.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    for (text, quote) in [(bash, ["-W '", "'"]), (zsh, ["'1:shell:(", ")'"]), (fish, ["-a '", "'"])] {
        assert!(text.contains(&format!("{}{}{}", quote[0], shells.join(" "), quote[1])), "{shells:?}");
    }
}

#[test]
fn keys() {
    let defaults: BTreeMap<&str, String> = super::keys::defaults().into_iter().collect();
    // Worth to be set: it can be something else than it is anyway.
    let takes = |(key, values): &&(&str, &[&str])| {
        let mut others =
            values.iter().filter(|value| defaults.get(key).is_none_or(|default| default != *value));
        others.any(|value| works(&["--set", &format!("{key}={value}"), "true"]))
    };
    let expected = set(KEYS.iter().filter(takes).map(|(key, _)| *key));
    let (bash, zsh, fish) = (script("sbx.bash"), script("_sbx"), script("sbx.fish"));
    for (shell, keys) in [
        ("bash", between(&bash, "keys='", "'")),
        ("zsh", between(&zsh, "keys=(", ")")),
        ("fish", between(&fish, "set -l keys", "printf")),
    ] {
        let keys = set(keys.split_whitespace().filter(|word| *word != "\\"));
        assert_eq!(keys, expected, "{shell} (left) and the program (right)");
    }
}

/// What can change while a sandbox runs.
#[test]
fn limits() {
    let expected: Vec<&str> = sbx::manage::LIMIT_KEYS.iter().map(|(key, _)| *key).collect();
    let page = read("man/sbx.1");
    let listed = between(&page, ".It Cm limit\n", "with a value").split_once(".Li ").expect("a list").1;
    assert_eq!(
        owned(listed.split([',', ' ', '\n']).filter(|word| !word.is_empty())),
        owned(expected.iter().copied()),
        "sbx.1"
    );
    let (bash, zsh, fish) = (script("sbx.bash"), script("_sbx"), script("sbx.fish"));
    for (shell, keys) in [
        ("bash", between(&bash, "-W 'memory= ", "'")),
        ("zsh", between(&zsh, "limits=(memory ", ")")),
        ("fish", between(&fish, "'%s=\\n' memory ", "\n")),
    ] {
        let keys = keys.split_whitespace().map(|word| word.trim_end_matches('='));
        assert_eq!(keys.collect::<Vec<_>>(), expected[1..], "{shell} (left) and the program (right)");
    }
}

#[test]
fn readme() {
    let readme = read("README.md");
    let rows = between(&readme, "| verb | what it does |\n", "\n\n").lines().skip(1);
    let verbs = rows.filter_map(|row| row.strip_prefix("| `sbx ")?.split([' ', '`']).next());
    let expected = verbs_of_the_program();
    let expected = set(expected.iter().map(|(verb, _)| verb.as_str()));
    assert_eq!(set(verbs), expected, "README.md (left) and the program (right)");
    for file in ["sbx.bash", "_sbx", "sbx.fish"] {
        assert!(readme.contains(&format!("packaging/completions/{file}")), "README.md: {file}");
    }
}
