# Completion of sbx(1) in fish. It runs nothing but `sbx profiles`, `sbx ps` and `sbx layers`.
# tests/docs compares the lists with the program, tests/completions tries them out.

# Prints the verb; then whether the cursor is among sbx's own words (`own`), at the command (`command`) or behind it
# (`arguments`); then the words of the command before the cursor.
function __sbx_line
    set -l words (commandline -opc)[2..-1]
    set -l verb run
    if contains -- "$words[1]" run explain check profiles doctor ps stats pause resume stop limit exec layers diff apply discard image completions version help
        set verb $words[1]
        set -e words[1]
    end
    echo $verb
    # A value follows these, and a group of short options that `p` ends.
    set -l valued profile set ro rw hide tmpfs overlay root layer cwd chdir net memory swap cpus pids timeout env hostname name keep-fd color status-fd format
    while contains $verb run explain exec; and set -q words[1]
        set -l word $words[1]
        set -e words[1]
        if contains -- $word --$valued; or string match -qr -- '^-[^-p]*p$' $word
            set -e words[1]
        else if test $word = --; or not string match -q -- '-*' $word
            test $word = --; or set -p words $word
            if test $verb = exec
                # The sandbox's name comes first, and `--` may follow it.
                set -q words[1]; or break
                set -e words[1]
                test "$words[1]" = --; and set -e words[1]
            end
            set -q words[1]; and printf '%s\n' arguments $words; or echo command
            return
        end
    end
    echo own
end

# Whether the words are still those of one of these verbs.
function __sbx_in
    set -l line (__sbx_line)
    test "$line[2]" = own; and contains -- $line[1] $argv
end

# Only the very first word can be a verb.
function __sbx_at_first
    test (count (commandline -opc)) = 1
end

# The command, completed as it would be without sbx.
function __sbx_command
    set -l line (__sbx_line)
    string match -q -- '-*' (commandline -ct); and test "$line[2]" != arguments; and return
    complete -C (string join -- ' ' (string escape -- $line[3..-1]) (commandline -ct | string collect -a))
end

function __sbx_takes_command
    set -l line (__sbx_line)
    contains -- $line[1] run explain; or test "$line[1]" = exec -a "$line[2]" != own
end

# Profile files, and directories with more of them.
function __sbx_files
    # A command without completions of its own is completed by files.
    complete -C "__sbx_files "(commandline -ct | string replace -r -- '^--[a-z-]*=' '') | string match -er -- '(/|\.toml)(\t|$)'
end

function __sbx_profiles
    if string match -q -- '*/*' (commandline -ct)
        __sbx_files
    else
        # Whatever the line calls sbx: what somebody has only typed is not run.
        command sbx profiles --format names 2>/dev/null </dev/null
    end
end

# The sandboxes that run.
function __sbx_sandboxes
    command sbx ps --format names 2>/dev/null </dev/null
end

# The layers that are kept.
function __sbx_layers
    command sbx layers --format names 2>/dev/null </dev/null
end

# A sandbox, and what `sbx limit` can change of it.
function __sbx_limits
    if not string match -qv -- '-*' (commandline -opc)[3..-1]
        __sbx_sandboxes
    else if not string match -q -- '*=*' (commandline -ct)
        printf '%s=\n' memory memory-high swap cpus cpu-weight cpuset pids io io-weight
    end
end

function __sbx_keys
    string match -q -- '*=*' (commandline -ct | string replace -r -- '^--[a-z-]*=' ''); and return
    set -l keys \
        description app-id toolchains filesystem.arguments filesystem.accounts filesystem.overlay-driver filesystem.root filesystem.layers filesystem.writable filesystem.cwd filesystem.read filesystem.write filesystem.hide \
        filesystem.tmpfs filesystem.overlay filesystem.protect home.mode namespaces.nested namespaces.hostname namespaces.time.boottime \
        namespaces.time.monotonic privileges.uid privileges.capabilities network.mode limits.memory limits.memory-high limits.swap limits.cpus limits.cpu-weight \
        limits.cpuset limits.pids limits.io limits.io-weight limits.cgroups limits.cgroup-depth limits.nice limits.io-priority \
        limits.open-files limits.timeout limits.delegate limits.cgroup limits.cgroup-parent limits.level seccomp.allow seccomp.deny \
        landlock.level landlock.scope landlock.files environment.set environment.keep display.wayland display.x11 audio.playback \
        devices.gpu lifecycle.background terminal.mode
    printf '%s=\n' $keys
end

complete -c sbx -f
complete -c sbx -n __sbx_at_first -a run -d 'run COMMAND, whatever it is called'
complete -c sbx -n __sbx_at_first -a explain -d 'print what a run would do, and who asked for it'
complete -c sbx -n __sbx_at_first -a check -d 'check profile files'
complete -c sbx -n __sbx_at_first -a profiles -d 'list the profiles there are'
complete -c sbx -n __sbx_at_first -a doctor -d 'say whether sandboxes work here, and if not, why and what to do'
complete -c sbx -n __sbx_at_first -a ps -d 'list the sandboxes that run'
complete -c sbx -n __sbx_at_first -a stats -d 'say what they use, and what they may use'
complete -c sbx -n __sbx_at_first -a pause -d 'stop everything in one'
complete -c sbx -n __sbx_at_first -a resume -d 'let it go on'
complete -c sbx -n __sbx_at_first -a stop -d 'end one'
complete -c sbx -n __sbx_at_first -a limit -d 'set new limits for one'
complete -c sbx -n __sbx_at_first -a exec -d 'run a further program in one'
complete -c sbx -n __sbx_at_first -a layers -d 'list the layers that are kept'
complete -c sbx -n __sbx_at_first -a diff -d 'show what a sandbox has changed in a layer'
complete -c sbx -n __sbx_at_first -a apply -d 'carry that over to the directory itself'
complete -c sbx -n __sbx_at_first -a discard -d 'remove some'
complete -c sbx -n __sbx_at_first -a image -d 'import, list, show, export and remove images'
complete -c sbx -n __sbx_at_first -a completions -d 'print what makes bash, zsh or fish complete sbx'
complete -c sbx -n __sbx_at_first -a version -d 'print the version'
complete -c sbx -n __sbx_at_first -a help -d 'print this text'
complete -c sbx -n __sbx_takes_command -a '(__sbx_command)'
complete -c sbx -n '__sbx_in check' -a '(__sbx_files)'
complete -c sbx -n '__sbx_in stats pause resume stop exec' -a '(__sbx_sandboxes)'
complete -c sbx -n '__sbx_in diff apply' -a '(__sbx_layers)'
complete -c sbx -n '__sbx_in limit' -a '(__sbx_limits)'
complete -c sbx -n '__sbx_in discard' -a '(__sbx_layers)'
complete -c sbx -n '__sbx_in completions' -a 'bash zsh fish'
complete -c sbx -n '__sbx_in image' -F -a 'import pull list show rm gc export'

complete -c sbx -n '__sbx_in run explain' -s p -l profile -x -a '(__sbx_profiles)' -d 'Use this profile'
complete -c sbx -n '__sbx_in run explain' -l set -x -a '(__sbx_keys)' -d 'Set a key of the profile'
complete -c sbx -n '__sbx_in run explain' -l strict -d 'What the profile only prefers is required'
complete -c sbx -n '__sbx_in run explain' -l ro -r -F -d 'Show P read-only'
complete -c sbx -n '__sbx_in run explain' -l rw -r -F -d 'Let P be written'
complete -c sbx -n '__sbx_in run explain' -l hide -r -F -d "Cover P with something empty that can't be opened"
complete -c sbx -n '__sbx_in run explain' -l tmpfs -r -F -d 'Put an empty tmpfs at DEST'
complete -c sbx -n '__sbx_in run explain' -l overlay -x -a '(__fish_complete_directories)' -d 'Let DIR be written, and keep the changes apart'
complete -c sbx -n '__sbx_in run explain' -l root -x -a '(__fish_complete_directories)' -d 'Use another root filesystem'
complete -c sbx -n '__sbx_in run explain' -l layer -x -a '(__fish_complete_directories)' -d 'Stack DIR over the root filesystem, topmost first'
complete -c sbx -n '__sbx_in run explain' -l cwd -x -a 'rw ro overlay none' -d 'What the sandbox gets of the working directory'
complete -c sbx -n '__sbx_in run explain exec' -l chdir -x -a '(__fish_complete_directories)' -d 'Start in DIR'
complete -c sbx -n '__sbx_in run explain' -l net -x -a 'none host' -d 'What the network reaches'
complete -c sbx -n '__sbx_in run explain' -l memory -x -d 'Memory of all its processes together, such as 512M'
complete -c sbx -n '__sbx_in run explain' -l swap -x -d 'Swap besides that'
complete -c sbx -n '__sbx_in run explain' -l cpus -x -d 'Processors, such as 1.5'
complete -c sbx -n '__sbx_in run explain' -l pids -x -d 'Processes and threads'
complete -c sbx -n '__sbx_in run explain' -l timeout -x -d 'End COMMAND after this time, such as 30s or 1h30m'
complete -c sbx -n '__sbx_in run explain exec' -l env -x -a '(set -nx)' -d 'Set a variable, or pass it on'
complete -c sbx -n '__sbx_in run explain' -l hostname -x -d 'The host name inside'
complete -c sbx -n '__sbx_in run explain' -l name -x -d 'Call the sandbox NAME'
complete -c sbx -n '__sbx_in run explain' -l keep-fd -x -d 'Hand over descriptor N, 3 or above'
complete -c sbx -n '__sbx_in run explain' -l die-with-parent -d 'End when the process that started sbx ends'
complete -c sbx -n '__sbx_in run explain' -l status-fd -x -d 'Write JSON lines about the run to descriptor N'
complete -c sbx -n '__sbx_in run explain' -l report -d 'Say at the end what was used'
complete -c sbx -n '__sbx_in run' -s V -l version -d 'Print the version'
complete -c sbx -n '__sbx_in explain doctor stats diff image' -l format -x -a 'text json' -d 'For people or for programs'
complete -c sbx -n '__sbx_in check' -l deny-warnings -d 'Take a warning for a mistake'
complete -c sbx -n '__sbx_in profiles ps layers' -l format -x -a 'text json names' -d 'For people, for programs, or a name a line'
complete -c sbx -n '__sbx_in profiles' -l schema -d 'Print the JSON Schema of profiles instead'
complete -c sbx -n '__sbx_in diff' -s p -l patch -d 'Print what has changed in texts, as `git apply` takes it'
complete -c sbx -n '__sbx_in diff' -l json -d 'The same as --format json'
complete -c sbx -n '__sbx_in apply' -s n -l dry-run -d 'Check everything and say what would be done, but change nothing'
complete -c sbx -n '__sbx_in stats' -s w -l watch -d 'Say it again every second, until Ctrl-C'
complete -c sbx -n '__sbx_in image' -l layer -x -d 'Put this kept writable layer on top'
complete -c sbx -n '__sbx_in image' -l max-size -x -d 'Bytes that an imported image may have, unpacked'
complete -c sbx -n '__sbx_in image' -l max-entries -x -d 'Files that it may have'
complete -c sbx -n '__sbx_in stop' -l grace -x -d 'How long the command may take to end'
complete -c sbx -n '__sbx_in run explain check profiles doctor ps stats pause resume stop limit exec layers diff apply discard image completions' -s h -l help -d 'Print this text'
complete -c sbx -n '__sbx_in run explain check profiles doctor ps stats pause resume stop limit exec layers diff apply discard image completions' -s v -l verbose -d 'Say which profile is used'
complete -c sbx -n '__sbx_in run explain check profiles doctor ps stats pause resume stop limit exec layers diff apply discard image completions' -s q -l quiet -d 'Print no warnings'
complete -c sbx -n '__sbx_in run explain check profiles doctor ps stats pause resume stop limit exec layers diff apply discard image completions' -l color -x -a 'auto always never' -d 'Colour in messages'
