# Completion of ablate for fish. In ~/.config/fish/config.fish: ablate completion fish | source
complete -c ablate -f -a '(ablate completion fish --line (commandline -cp) 2>/dev/null | string replace -r "\t[^\t]*\$" "")'
