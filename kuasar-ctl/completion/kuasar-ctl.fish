# fish completion for kuasar-ctl(8)
function __kuasar_ctl_kinds
    for dir in /run/kuasar-*/sandboxes/ # a shim alone leaves a directory, too
        string replace -r '^/run/kuasar-(.*)/sandboxes/$' '$1' $dir
    end
end

# Ids from the records: no daemon is asked while somebody types.
function __kuasar_ctl_ids
    for path in /run/kuasar-*/sandboxes/*/ /run/kuasar-*/tasks/*/*.json
        string replace -r '^.*/([^/]*?)(/|\.json)$' '$1' $path
    end
end

set -l commands list ls show events dump doctor help
set -l none "not __fish_seen_subcommand_from $commands"
set -l any "__fish_seen_subcommand_from list ls show events dump doctor"
complete -c kuasar-ctl -f
complete -c kuasar-ctl -n $none -a 'list ls' -d 'Sandboxes, each with its containers'
complete -c kuasar-ctl -n $none -a show -d 'Everything about one of them'
complete -c kuasar-ctl -n $none -a events -d 'What happens, until interrupted'
complete -c kuasar-ctl -n $none -a dump -d 'An archive for a bug report'
complete -c kuasar-ctl -n $none -a doctor -d 'What is wrong with this node'
complete -c kuasar-ctl -n $none -a help -d 'The commands'
complete -c kuasar-ctl -n $none -s v -l version -d 'Print the version'
complete -c kuasar-ctl -s h -l help -d 'What the command takes'
complete -c kuasar-ctl -n $any -s j -l json -d 'Print JSON'
complete -c kuasar-ctl -n $any -s k -l kind -x -a '(__kuasar_ctl_kinds)' -d 'Only this kind of sandbox'
complete -c kuasar-ctl -n $any -s r -l run-dir -x -a '(__fish_complete_directories)' -d 'Where the state directories are'
complete -c kuasar-ctl -n $any -s t -l timeout -x -d 'How long a daemon may take to answer'
complete -c kuasar-ctl -n '__fish_seen_subcommand_from list ls' -s l -l long -d 'Whole ids, and more columns'
complete -c kuasar-ctl -n '__fish_seen_subcommand_from show' -s n -l namespace -x -d 'Containers of this namespace'
complete -c kuasar-ctl -n '__fish_seen_subcommand_from show' -a '(__kuasar_ctl_ids)'
complete -c kuasar-ctl -n '__fish_seen_subcommand_from events' -s a -l recent -d 'First what the daemons remember'
complete -c kuasar-ctl -n '__fish_seen_subcommand_from dump' -s o -l output -r -F -d 'The archive'
complete -c kuasar-ctl -n '__fish_seen_subcommand_from dump' -s L -l no-logs -d 'Leave the logs out'
complete -c kuasar-ctl -n '__fish_seen_subcommand_from doctor' -s q -l quiet -d 'Only what is not in order'
complete -c kuasar-ctl -n '__fish_seen_subcommand_from doctor' -s c -l containerd-config -r -F -d 'Its main file'
complete -c kuasar-ctl -n '__fish_seen_subcommand_from doctor' -s R -l root -x -a '(__fish_complete_directories)' -d 'Another file tree'
