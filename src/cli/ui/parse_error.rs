//! Complaints about the command line in the words that scripts and people know
//! from the reference: `error: unknown option '--x'`, exit 1.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::base::nearest::nearest;
use crate::cli::ui::{CommandResult, Failure, Outcome};

/// Turns a parser's verdict into output: help is data, the rest an error.
pub fn explain(err: &clap::Error, tree: &clap::Command, args: &[String]) -> CommandResult {
    let text = match err.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return Ok(Outcome::text(err.render().to_string()));
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => err.render().to_string(),
        ErrorKind::UnknownArgument => unknown_argument(err, tree, args),
        ErrorKind::InvalidSubcommand => {
            let word = context(err, ContextKind::InvalidSubcommand).unwrap_or_default();
            let group = group_of(tree, args);
            let names: Vec<String> = group
                .get_subcommands()
                .filter(|sub| !sub.is_hide_set())
                .flat_map(|sub| std::iter::once(sub.get_name()).chain(sub.get_visible_aliases()))
                .map(str::to_owned)
                .collect();
            format!("error: unknown command '{word}'{}", suggestion(&word, &names))
        }
        ErrorKind::MissingSubcommand => {
            return Ok(
                Outcome::text(group_of(tree, args).clone().render_help().to_string()).with_code(1)
            );
        }
        ErrorKind::MissingRequiredArgument => missing(err, group_of(tree, args)),
        // clap reports an option without its value as an invalid empty value.
        ErrorKind::InvalidValue | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            let arg = context(err, ContextKind::InvalidArg).unwrap_or_default();
            let arg = spelled(&arg, group_of(tree, args));
            let value = context(err, ContextKind::InvalidValue).unwrap_or_default();
            if value.is_empty() {
                format!("error: option '{arg}' argument missing")
            } else {
                format!("error: option '{arg}' argument '{value}' is invalid")
            }
        }
        ErrorKind::TooManyValues => {
            let arg = context(err, ContextKind::InvalidArg).unwrap_or_default();
            format!("error: option '{arg}' does not take a value")
        }
        _ => err.render().to_string().lines().next().unwrap_or("error: bad arguments").to_owned(),
    };
    Err(Failure::new(text))
}

fn unknown_argument(err: &clap::Error, tree: &clap::Command, args: &[String]) -> String {
    let arg = context(err, ContextKind::InvalidArg).unwrap_or_default();
    let group = group_of(tree, args);
    if !arg.starts_with('-') {
        return format!("error: too many arguments for '{}': '{arg}'", group.get_name());
    }
    let names: Vec<String> = group
        .get_arguments()
        .filter(|option| !option.is_hide_set())
        .filter_map(|option| option.get_long())
        .map(|long| format!("--{long}"))
        .collect();
    format!("error: unknown option '{arg}'{}", suggestion(&arg, &names))
}

fn missing(err: &clap::Error, group: &clap::Command) -> String {
    let names = match err.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(names)) => names.join(", "),
        Some(ContextValue::String(name)) => name.clone(),
        _ => String::new(),
    };
    if names.starts_with('-') {
        format!("error: required option '{}' not specified", spelled(&names, group))
    } else {
        let name = names.replace(['<', '>'], "").to_lowercase();
        format!("error: missing required argument '{name}'")
    }
}

/// An option as the help shows it: with its short form in front.
fn spelled(name: &str, group: &clap::Command) -> String {
    let option = group.get_arguments().find(|option| option.to_string() == name);
    match option.and_then(clap::Arg::get_short) {
        Some(short) => format!("-{short}, {name}"),
        None => name.to_owned(),
    }
}

fn context(err: &clap::Error, kind: ContextKind) -> Option<String> {
    match err.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// The deepest command that the leading words name.
fn group_of<'a>(tree: &'a clap::Command, args: &[String]) -> &'a clap::Command {
    let mut group = tree;
    for arg in args.iter().filter(|arg| !arg.starts_with('-')) {
        match group.find_subcommand(arg) {
            Some(sub) => group = sub,
            None => break,
        }
    }
    group
}

/// `(Did you mean x?)` on its own line, or nothing if nothing is near.
fn suggestion(word: &str, names: &[String]) -> String {
    let near = nearest(word, names);
    match near.as_slice() {
        [] => String::new(),
        [one] => format!("\n(Did you mean {one}?)"),
        many => format!("\n(Did you mean one of {}?)", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let tree = args::tree();
        let argv = std::iter::once("openclaw".to_owned()).chain(words.clone());
        let err = tree.clone().try_get_matches_from(argv).unwrap_err();
        let mut built = tree;
        built.build();
        let failure = explain(&err, &built, &words).unwrap_err();
        assert_eq!(failure.to_string(), expected);
    }

    #[test]
    fn complaints_have_the_words_of_the_reference() {
        check("gateway --bogus", "error: unknown option '--bogus'");
        check("gateway --prt 1", "error: unknown option '--prt'\n(Did you mean --port?)");
        check("gatewy", "error: unknown command 'gatewy'\n(Did you mean gateway?)");
        check("gateway --port", "error: option '--port <port>' argument missing");
        check("gateway call", "error: missing required argument 'method'");
    }
}
