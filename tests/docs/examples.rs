//! What the documentation shows as examples.

use super::*;

/// The words of a line of shell, as far as the documentation and the completions need it: quotes and a comment.
pub(super) fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut quote = None;
    for character in line.chars() {
        match (character, quote) {
            (sign, Some(open)) if sign == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            ('#', None) if word.is_none() => break,
            (' ', None) => words.extend(word.take()),
            (other, _) => word.get_or_insert_default().push(other),
        }
    }
    assert!(quote.is_none(), "{line}: a quote is not closed");
    words.extend(word);
    words
}

/// The lines of shell in a document.
fn shell_lines(name: &str) -> Vec<String> {
    let text = read(name);
    let lines: Vec<String> = if name.ends_with(".md") {
        let blocks = text.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
        blocks.flat_map(str::lines).map(str::to_owned).collect()
    } else {
        let text = text.replace("\\-", "-").replace("\\e\n", "");
        text.lines().map(|line| line.strip_prefix(".Dl ").unwrap_or(line).to_owned()).collect()
    };
    lines
}

#[test]
fn commands() {
    let mut shown = 0;
    for name in ["README.md", "man/sbx.1", "man/sbx-profile.5"] {
        for line in shell_lines(name) {
            let Some(line) =
                ["sbx ", "cargo run --quiet -- "].iter().find_map(|start| line.strip_prefix(start))
            else {
                continue;
            };
            shown += 1;
            // The page's own example of a profile stands for one that is there.
            let words = shell_words(&line.replace("--profile shop", "--profile build"));
            if let Some(Err(error)) = plan_of(&words) {
                panic!("{name}: sbx {line}: {error}");
            }
        }
    }
    assert!(shown >= 15, "only {shown} commands were found");
}

#[test]
fn profiles() {
    let uid = nix::unistd::getuid().as_raw();
    let readme = read("README.md");
    let page = read("man/sbx-profile.5").replace("\\-", "-");
    let in_readme =
        readme.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
    let in_page = page
        .split(".Bd -literal -offset indent\n")
        .skip(1)
        .map(|block| block.split(".Ed\n").next().unwrap_or_default());
    let examples: Vec<&str> = in_readme.chain(in_page).collect();
    assert!(examples.len() >= 3, "only {} profiles were found", examples.len());
    for (number, text) in examples.into_iter().enumerate() {
        let file = std::env::temp_dir().join(format!("sbx-docs-{}-{number}.toml", std::process::id()));
        std::fs::write(&file, text).expect("a file can be written");
        let checked = load::check(&file, &search(), uid);
        std::fs::remove_file(&file).expect("the file is there");
        let (profile, warnings) = checked.unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(warnings, [], "{text}");
        plan::resolve(&profile, &Invocation::default(), &ordinary_host())
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

#[test]
fn files() {
    let readme = read("README.md");
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let named = readme
        .split(|c: char| c.is_whitespace() || c == '`')
        .filter(|word| [".ci/", "tests/", "man/"].iter().any(|start| word.starts_with(start)));
    let mut found = 0;
    for path in links.chain(named).filter(|path| !path.contains("://")) {
        assert!(source_dir().join(Path::new(path)).exists(), "README.md names {path}");
        found += 1;
    }
    assert!(found >= 5, "only {found} files were found");
}
