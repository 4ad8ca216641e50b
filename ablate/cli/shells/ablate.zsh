# Completion of ablate for zsh. In ~/.zshrc: eval "$(ablate completion zsh)"
_ablate() {
    local text meaning open
    local -a ended shown_ended going_on shown_going_on
    while IFS=$'\t' read -r text meaning open; do
        if [[ -n $open ]]; then
            going_on+=("$text") shown_going_on+=("${(r:28:)text} $meaning")
        else
            ended+=("$text") shown_ended+=("${(r:28:)text} $meaning")
        fi
    done < <(${~words[1]} completion zsh --line "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null | sed $'s/\t\t/\t \t/')
    (( $#going_on )) && compadd -l -S '' -d shown_going_on -a going_on
    (( $#ended )) && compadd -l -d shown_ended -a ended
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _ablate ablate
