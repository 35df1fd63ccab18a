//! What `sbx --help` says besides the options.
#![forbid(unsafe_code)]

/// The verbs, and where to read on.
pub(super) const AFTER_HELP: &str = "\
Verbs, only as the very first word:
  run          run COMMAND, whatever it is called
  explain      print what a run would do, and who asked for it
  check        check profile files
  profiles     list the profiles there are
  doctor       say whether sandboxes work here, and if not, why and what to do
  ps           list the sandboxes that run
  stats        say what they use, and what they may use
  pause        stop everything in one
  resume       let it go on
  stop         end one
  limit        set new limits for one
  exec         run a further program in one
  layers       list the layers that are kept
  diff         show what a sandbox has changed in a layer
  apply        carry that over to the directory itself
  discard      remove some
  image        import, list, show, export and remove images
  completions  print what makes bash, zsh or fish complete sbx
  version      print the version
  help         print this text

Exit status: the command's own; 128+N when signal N killed it; 124 when its time was up; 125 when
sbx refused and nothing ran; 126 when COMMAND is not executable; 127 when it is not found; 137 when
it had no memory left, or somebody outside killed the sandbox.

Examples:
  sbx make                         build here, without network and without your home
  sbx --profile build --rw ~/.cache/ccache make -j4
  sbx --net host --hide .env npm install
  sbx --memory 2G --cpus 1.5 --name tests make check
  sbx exec tests sh                a shell in the same sandbox
  sbx explain --profile shell      what would the shell profile give?

sbx(1) has the options in full, sbx-profile(5) the profiles.";
