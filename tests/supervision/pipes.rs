//! Pipes and files are the command's own: every byte, the end exactly, and the death of a writer whose reader left.

use crate::common::{Case, User, Verdict, case, output, output_with_input};
use crate::stage::bash;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a_reader_that_leaves_early),
        case!(a_writer_whose_reader_left),
        case!(a_file_is_read_whole),
        case!(a_gibibyte_passes),
        case!(every_byte_passes),
        case!(the_end_comes_when_the_writer_closes),
        case!(what_is_closed_stays_closed),
        case!(a_reader_takes_no_more_than_it_reads),
    ]
}

fn a_reader_that_leaves_early(user: &User) -> Verdict {
    let script = "yes | \"$SBX\" head -n 1; echo ${PIPESTATUS[@]}";
    output(&mut bash(user, script))?.exits(0)?.stdout_is("y\n141 0\n")?.stderr_is("")?;
    Ok(())
}

fn a_writer_whose_reader_left(user: &User) -> Verdict {
    let script = "\"$SBX\" yes | head -n 1; echo ${PIPESTATUS[@]}";
    output(&mut bash(user, script))?.exits(0)?.stdout_is("y\n141 0\n")?.stderr_is("")?;
    Ok(())
}

fn a_file_is_read_whole(user: &User) -> Verdict {
    let script = "head -c 64M /dev/urandom >\"$DIR/file\"; \"$SBX\" cat <\"$DIR/file\" | cmp - \"$DIR/file\"; echo ${PIPESTATUS[@]}
        \"$SBX\" cat <\"$DIR/file\" >\"$DIR/copy\"; cmp \"$DIR/file\" \"$DIR/copy\" && wc -c <\"$DIR/copy\"";
    output(&mut bash(user, script))?.exits(0)?.stdout_is("0 0\n67108864\n")?;
    Ok(())
}

fn a_gibibyte_passes(user: &User) -> Verdict {
    let script = "head -c 1G /dev/zero | \"$SBX\" cat | cmp - <(head -c 1G /dev/zero); echo ${PIPESTATUS[@]}";
    output(&mut bash(user, script))?.exits(0)?.stdout_is("0 0 0\n")?.stderr_is("")?;
    Ok(())
}

fn every_byte_passes(user: &User) -> Verdict {
    let bytes: Vec<u8> = (0..=255).cycle().take(70_001).collect();
    let out = output_with_input(user.sbx().arg("cat"), &bytes)?;
    out.exits(0)?.check(out.stdout == bytes, || "the same bytes".to_owned())?;
    let out = output_with_input(user.sbx().args(["sh", "-c", "cat >&2"]), &bytes)?;
    out.exits(0)?.check(out.stderr == bytes && out.stdout.is_empty(), || "the same bytes".to_owned())?;
    Ok(())
}

fn the_end_comes_when_the_writer_closes(user: &User) -> Verdict {
    output_with_input(user.sbx().args(["wc", "-c"]), b"")?.exits(0)?.stdout_is("0\n")?;
    let script = "(printf a; sleep 1; printf b) | \"$SBX\" cat; echo; echo ${PIPESTATUS[@]}";
    output(&mut bash(user, script))?.exits(0)?.stdout_has("ab\n")?;
    Ok(())
}

fn what_is_closed_stays_closed(user: &User) -> Verdict {
    let script = "\"$SBX\" sh -c '(: <&0) 2>/dev/null && echo open >&2; exit 3' <&- >&-; echo $?";
    output(&mut bash(user, script))?.stdout_is("3\n")?.stderr_lacks("panic")?;
    Ok(())
}

fn a_reader_takes_no_more_than_it_reads(user: &User) -> Verdict {
    let script = "printf 'a\\nb\\nc\\n' | { \"$SBX\" sh -c 'read -r line; echo $line'; cat; }";
    output(&mut bash(user, script))?.exits(0)?.stdout_is("a\nb\nc\n")?;
    Ok(())
}
