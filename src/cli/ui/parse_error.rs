//! Complaints about the command line in the words that scripts and people know
//! from the reference: `error: unknown option '--x'`, exit 1.

use clap::error::{ContextKind, ContextValue, ErrorKind};

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

/// The names at the smallest edit distance, if that is at most 3 and leaves
/// more than two fifths of the longer word intact.
fn nearest(word: &str, names: &[String]) -> Vec<String> {
    const MAX_DISTANCE: usize = 3;
    let bare = |name: &str| name.trim_start_matches("--").to_owned();
    let word = bare(word);
    let mut best = MAX_DISTANCE;
    let mut found: Vec<String> = Vec::new();
    for name in names {
        let candidate = bare(name);
        if candidate.chars().count() <= 1 {
            continue;
        }
        let distance = edit_distance(&word, &candidate);
        let length = word.chars().count().max(candidate.chars().count());
        if (length - distance) * 5 <= length * 2 || distance > best {
            continue;
        }
        if distance < best {
            found.clear();
            best = distance;
        }
        found.push(name.clone());
    }
    found.sort();
    found
}

/// Edits between two words; swapping neighbours counts as one.
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
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

    #[test]
    fn only_near_names_are_suggested() {
        let names: Vec<String> = ["logs", "status", "sessions", "system"]
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
        assert_eq!(nearest("bogus", &names), ["logs"]);
        assert_eq!(nearest("version", &names), ["sessions"]);
        assert_eq!(nearest("xyzzy", &names), Vec::<String>::new());
        assert_eq!(edit_distance("stauts", "status"), 1);
    }
}
