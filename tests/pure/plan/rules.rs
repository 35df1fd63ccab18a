//! The three rules of the layout, for every pair of kinds and every way that they can come together.

use crate::plan::given::{below, plan};

const KINDS: [&str; 4] = ["read", "write", "hide", "tmpfs"];

/// What an entry is called in a plan, and as an option.
fn names(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "read" => ("ro", "--ro"),
        "write" => ("rw", "--rw"),
        "hide" => ("hide", "--hide"),
        _ => ("tmpfs", "--tmpfs"),
    }
}

fn layer(entries: &[(&str, &str)]) -> String {
    let mut text = "[filesystem]\n".to_owned();
    for kind in KINDS {
        let paths: Vec<_> =
            entries.iter().filter(|entry| entry.0 == kind).map(|entry| format!("{:?}", entry.1)).collect();
        if !paths.is_empty() {
            text.push_str(&format!("{kind} = [{}]\n", paths.join(", ")));
        }
    }
    text
}

/// Where a layer's entry comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum From {
    File,
    Flag,
}

/// The plan of two entries, the first in the lower layer.
fn of_two(first: (&str, &str, From), second: (&str, &str, From)) -> Vec<String> {
    let (mut texts, mut arguments) = (Vec::new(), Vec::new());
    for (kind, path, from) in [first, second] {
        match from {
            From::File => texts.push(layer(&[(kind, path)])),
            From::Flag => arguments.extend([names(kind).1, path]),
        }
    }
    below(&plan(&texts.iter().map(String::as_str).collect::<Vec<_>>(), &arguments), "/data")
}

const WAYS: [(From, From); 3] =
    [(From::File, From::File), (From::File, From::Flag), (From::Flag, From::Flag)];

#[test]
fn on_one_destination_the_later_layer_wins() {
    let mut cases = 0;
    for (lower, upper) in WAYS {
        for first in KINDS {
            for second in KINDS {
                let found = of_two((first, "/data/a", lower), (second, "/data/a", upper));
                assert_eq!(
                    found,
                    [format!("/data/a {}", names(second).0)],
                    "{first} {lower:?}, {second} {upper:?}"
                );
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 48);
}

#[test]
fn the_deeper_one_wins_and_hide_covers_what_is_below() {
    let mut cases = 0;
    for (lower, upper) in WAYS {
        for outer in KINDS {
            for inner in KINDS {
                let both = [format!("/data/a {}", names(outer).0), format!("/data/a/b {}", names(inner).0)];
                let outer_first = of_two((outer, "/data/a", lower), (inner, "/data/a/b", upper));
                assert_eq!(outer_first, both, "{outer}, then {inner} in it");
                let wanted = if outer == "hide" { &both[..1] } else { &both[..] };
                let inner_first = of_two((inner, "/data/a/b", lower), (outer, "/data/a", upper));
                assert_eq!(inner_first, wanted, "{inner}, then {outer} over it");
                cases += 2;
            }
        }
    }
    assert_eq!(cases, 96);
}

#[test]
fn in_one_file_hide_covers_all_below() {
    for outer in KINDS {
        for inner in KINDS {
            let text = layer(&[(outer, "/data/a"), (inner, "/data/a/b")]);
            let both = [format!("/data/a {}", names(outer).0), format!("/data/a/b {}", names(inner).0)];
            let wanted = if outer == "hide" { &both[..1] } else { &both[..] };
            assert_eq!(below(&plan(&[&text], &[]), "/data"), wanted, "{inner} in {outer}");
        }
    }
}

#[test]
fn three_layers_are_read_from_below() {
    for (texts, arguments, wanted) in [
        (
            ["read = [\"/data/a/b\"]", "hide = [\"/data/a\"]", "write = [\"/data/a/b\"]"],
            &[][..],
            &["/data/a hide", "/data/a/b rw"][..],
        ),
        (["hide = [\"/data/a\"]", "read = [\"/data/a/b\"]", "hide = [\"/data/a\"]"], &[], &["/data/a hide"]),
        (["hide = [\"/data/a\"]", "read = [\"/data/a/b\"]", "hide = [\"/data\"]"], &[], &["/data hide"]),
        (
            ["hide = [\"/data/a\"]", "read = [\"/data/a/b\"]", "write = [\"/data/a\"]"],
            &[],
            &["/data/a rw", "/data/a/b ro"],
        ),
        (
            ["hide = [\"/data\"]", "read = [\"/data/a\"]", "hide = [\"/data/a/b\"]"],
            &[],
            &["/data hide", "/data/a ro", "/data/a/b hide"],
        ),
        (
            ["hide = [\"/data\"]", "read = [\"/data/a\"]", "hide = [\"/data/a/b\"]"],
            &["--rw", "/data/a/b/c"],
            &["/data hide", "/data/a ro", "/data/a/b hide", "/data/a/b/c rw"],
        ),
        (["hide = [\"/data\"]", "", ""], &["--ro", "/data/x", "--hide", "/data"], &["/data hide"]),
        (
            ["hide = [\"/data\"]", "", ""],
            &["--hide", "/data", "--ro", "/data/x"],
            &["/data hide", "/data/x ro"],
        ),
        (["read = [\"/data\"]", "read = [\"-/data\"]", ""], &[], &[]),
        (["hide = [\"/data/a\"]", "hide = [\"-/data/a\"]", "read = [\"/data\"]"], &[], &["/data ro"]),
        (["write = [\"/data/a\"]", "read = [\"/data/a\"]", "write = [\"-/data/a\"]"], &[], &["/data/a ro"]),
    ] {
        let texts = texts.map(|entries| format!("[filesystem]\n{entries}"));
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        assert_eq!(below(&plan(&texts, arguments), "/data"), wanted, "{texts:?} {arguments:?}");
    }
}

/// The order of a plan is that of the tree, not that of any list.
#[test]
fn entries_come_in_the_order_of_the_tree() {
    for list in [
        r#"["/data/a/b/c", "/data", "/data/a-b", "/data/a", "/data/a/b"]"#,
        r#"["/data/a-b", "/data/a/b", "/data/a/b/c", "/data/a", "/data"]"#,
        r#"["/data/a", "/data/a/b", "/data", "/data/a/b/c", "/data/a-b"]"#,
    ] {
        let found = below(&plan(&[&format!("[filesystem]\nread = {list}")], &[]), "/data");
        assert_eq!(
            found,
            ["/data ro", "/data/a ro", "/data/a/b ro", "/data/a/b/c ro", "/data/a-b ro"],
            "{list}"
        );
    }
}

#[test]
fn a_name_that_only_begins_alike_is_another_place() {
    for (text, wanted) in [
        ("hide = [\"/data/a\"]\nread = [\"/data/ab\"]", &["/data/a hide", "/data/ab ro"][..]),
        (
            "hide = [\"/data/a\"]\nread = [\"/data/a.b\", \"/data/a-\"]",
            &["/data/a hide", "/data/a- ro", "/data/a.b ro"],
        ),
    ] {
        assert_eq!(below(&plan(&[&format!("[filesystem]\n{text}")], &[]), "/data"), wanted, "{text}");
    }
}
