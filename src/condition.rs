//! Conditions in CEL (<https://cel.dev>), as `when = "…"` holds them: compiled when the configuration is read,
//! asked for every request that they decide.
//!
//! Invariant: what compiles is bounded: its length, its depth, the functions it may call and the loops it may make.
//! An expression that fails, or whose value is neither true nor false, is never taken for true.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::objects::{Key, Map as CelMap};
use cel::{Context, Env, Program, Value};
use serde_json::{Map, Value as Json};

/// A compiled expression. Cloning shares it.
#[derive(Clone)]
pub struct Condition(Arc<Compiled>);

struct Compiled {
    text: String,
    program: Program,
    env: Arc<Env>,
    mentions: Vec<String>,
}

/// A name that an expression may use.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// The name.
    pub name: &'static str,
    /// What may stand behind its dot; empty where that is for the data to say.
    pub fields: &'static [&'static str],
}

/// Why a text is no condition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadCondition {
    /// What is wrong: a clause in lower case.
    pub reason: String,
    /// What to do about it.
    pub mend: String,
    /// The byte of the text at which it is wrong.
    pub at: usize,
}

/// The values of the names, for one request.
#[derive(Debug, Default)]
pub struct Names(Vec<(&'static str, Value)>);

impl Condition {
    /// Reads an expression that may use the names in `words`.
    ///
    /// # Errors
    /// [`BadCondition`]: the first thing that is wrong.
    pub fn compile(text: &str, words: &[Word]) -> Result<Self, BadCondition> {
        if text.len() > MAX_LENGTH {
            let reason = format!("the expression has more than {MAX_LENGTH} bytes");
            return Err(bad(0, reason, "say it shorter, or in several routes"));
        }
        // the parser goes down with every bracket, and deeper than the stack of a thread that serves
        let parsed = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(PARSER_STACK);
            let thread = thread.spawn_scoped(scope, || Self::parse(text, words));
            thread.ok().and_then(|thread| thread.join().ok())
        });
        parsed.unwrap_or_else(|| {
            Err(bad(0, "the expression cannot be read".to_owned(), "say it in a simpler way"))
        })
    }

    fn parse(text: &str, words: &[Word]) -> Result<Self, BadCondition> {
        let env = Arc::new(Env::stdlib());
        let program = env.compile(text).map_err(|faults| {
            let first = faults.errors.into_iter().next();
            let (at, what) = first.map_or((0, String::new()), |fault| {
                (byte_of(text, fault.pos), fault.msg.lines().next().unwrap_or_default().to_owned())
            });
            bad(at, format!("not a CEL expression: {what}"), "see https://cel.dev for the language")
        })?;
        let mut reader = Reader {
            words,
            program: &program,
            text,
            mentions: Vec::new(),
            bound: Vec::new(),
            loops: 0,
        };
        reader.read(program.expression(), 0)?;
        if is_surely_no_truth(&program.expression().expr) {
            let mend = "compare it with something, as in claims.tenant == \"acme\"";
            return Err(bad(0, "the expression is neither true nor false".to_owned(), mend));
        }
        let mentions = reader.mentions;
        Ok(Self(Arc::new(Compiled { text: text.to_owned(), program, env, mentions })))
    }

    /// Whether the expression uses this name: `claims`, or `request.headers`.
    #[must_use]
    pub fn mentions(&self, name: &str) -> bool {
        self.0.mentions.iter().any(|used| used == name)
    }

    /// Whether it is true of these values; `None` where it has no answer: a key that is not there, values that
    /// cannot be compared, or a value that is no truth.
    #[must_use]
    pub fn holds(&self, names: Names) -> Option<bool> {
        let mut context = Context::with_env(Arc::clone(&self.0.env));
        for (name, value) in names.0 {
            context.add_variable_from_value(name, value);
        }
        match self.0.program.execute(&context) {
            Ok(Value::Bool(truth)) => Some(truth),
            Ok(_) | Err(_) => None,
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Condition({:?})", self.0.text)
    }
}

impl Names {
    /// A text, or null.
    pub fn text(&mut self, name: &'static str, text: Option<&str>) {
        self.0.push((name, text.map_or(Value::Null, Value::from)));
    }

    /// A whole number.
    pub fn number(&mut self, name: &'static str, number: u64) {
        self.0.push((name, Value::Int(i64::try_from(number).unwrap_or(i64::MAX))));
    }

    /// A list of texts.
    pub fn list<'a>(&mut self, name: &'static str, items: impl IntoIterator<Item = &'a str>) {
        self.0.push((name, items.into_iter().collect::<Vec<_>>().into()));
    }

    /// What JSON says.
    pub fn json(&mut self, name: &'static str, object: &Map<String, Json>) {
        self.0.push((name, value_of_object(object)));
    }

    /// Texts by name.
    pub fn texts(
        &mut self,
        name: &'static str,
        entries: impl IntoIterator<Item = (String, String)>,
    ) {
        self.0.push((name, map(entries.into_iter().map(|(key, text)| (key, Value::from(text))))));
    }

    /// Names within a name.
    pub fn names(&mut self, name: &'static str, inner: Self) {
        let entries = inner.0.into_iter().map(|(key, value)| (key.to_owned(), value));
        self.0.push((name, map(entries)));
    }
}

fn bad(at: usize, reason: String, mend: &str) -> BadCondition {
    BadCondition { reason, mend: mend.to_owned(), at }
}

fn map(entries: impl Iterator<Item = (String, Value)>) -> Value {
    let entries: HashMap<Key, Value> =
        entries.map(|(key, value)| (Key::from(key), value)).collect();
    Value::Map(CelMap { map: Arc::new(entries) })
}

fn value_of_object(object: &Map<String, Json>) -> Value {
    map(object.iter().map(|(key, value)| (key.clone(), value_of(value))))
}

fn value_of(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::Int(number),
            (None, Some(number), _) => Value::UInt(number),
            (None, None, number) => number.map_or(Value::Null, Value::Float),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(value_of).collect())),
        Json::Object(object) => value_of_object(object),
    }
}

/// Walks an expression and finds what is not to be.
struct Reader<'a> {
    words: &'a [Word],
    program: &'a Program,
    text: &'a str,
    mentions: Vec<String>,
    /// Names that a loop around here has made.
    bound: Vec<String>,
    loops: usize,
}

impl Reader<'_> {
    fn bad(&self, id: u64, reason: String, mend: impl Into<String>) -> BadCondition {
        let start = self.program.source_info().offset_for(id).map_or(0, |(start, _)| start);
        let at = self.text.char_indices().nth(start as usize).map_or(0, |(at, _)| at);
        BadCondition { reason, mend: mend.into(), at }
    }

    fn read(&mut self, node: &IdedExpr, depth: usize) -> Result<(), BadCondition> {
        if depth > MAX_DEPTH {
            let reason = format!("the expression is nested more than {MAX_DEPTH} deep");
            return Err(self.bad(node.id, reason, "say it in several routes"));
        }
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(node.id, name),
            Expr::Select(select) => {
                if let Expr::Ident(root) = &select.operand.expr
                    && !self.bound.contains(root)
                    && let Some(word) = self.words.iter().find(|word| word.name == root)
                    && !word.fields.is_empty()
                {
                    return self.field(node.id, word, &select.field);
                }
                self.read(&select.operand, depth + 1)
            }
            Expr::Call(call) => {
                if !FUNCTIONS.contains(&call.func_name.as_str()) {
                    let reason = format!("there is no function `{}`", call.func_name);
                    let mend = "use size, contains, startsWith, endsWith, has, exists, all, int, double or string";
                    return Err(self.bad(node.id, reason, mend));
                }
                if let Some(target) = &call.target {
                    self.read(target, depth + 1)?;
                }
                call.args.iter().try_for_each(|argument| self.read(argument, depth + 1))
            }
            Expr::List(list) => {
                list.elements.iter().try_for_each(|element| self.read(element, depth + 1))
            }
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.read(&entry.key, depth + 1)?;
                    self.read(&entry.value, depth + 1)
                }
                EntryExpr::StructField(field) => self.read(&field.value, depth + 1),
            }),
            Expr::Struct(_) => {
                let reason = "an expression makes no messages".to_owned();
                Err(self.bad(node.id, reason, "compare with texts, numbers, lists and maps"))
            }
            Expr::Comprehension(inner) => {
                self.loops += 1;
                if !self.bound.is_empty() || self.loops > MAX_LOOPS {
                    let reason = format!("more than {MAX_LOOPS} loops, or a loop within a loop");
                    return Err(self.bad(
                        node.id,
                        reason,
                        "`\"a\" in claims.groups` needs no loop",
                    ));
                }
                if matches!(inner.accu_init.expr, Expr::List(_) | Expr::Map(_)) {
                    let reason = "`map` and `filter` make lists, and a condition needs none";
                    return Err(self.bad(node.id, reason.to_owned(), "use exists or all"));
                }
                self.read(&inner.iter_range, depth + 1)?;
                self.bound = vec![inner.iter_var.clone(), inner.accu_var.clone()];
                self.bound.extend(inner.iter_var2.clone());
                for part in [&inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result] {
                    self.read(part, depth + 1)?;
                }
                self.bound.clear();
                Ok(())
            }
        }
    }

    fn name(&mut self, id: u64, name: &str) -> Result<(), BadCondition> {
        if self.bound.iter().any(|bound| bound == name) {
            return Ok(());
        }
        match self.words.iter().find(|word| word.name == name) {
            Some(word) if word.fields.is_empty() => {
                self.mentions.push(name.to_owned());
                Ok(())
            }
            Some(word) => {
                let reason = format!("`{name}` stands alone");
                Err(self.bad(id, reason, format!("say which: {}", fields(word))))
            }
            None => {
                let known: Vec<&str> = self.words.iter().map(|word| word.name).collect();
                let reason = format!("there is no `{name}`");
                Err(self.bad(id, reason, format!("there are {}", known.join(", "))))
            }
        }
    }

    fn field(&mut self, id: u64, word: &Word, field: &str) -> Result<(), BadCondition> {
        if !word.fields.contains(&field) {
            let reason = format!("there is no `{}.{field}`", word.name);
            return Err(self.bad(id, reason, format!("there are {}", fields(word))));
        }
        self.mentions.push(format!("{}.{field}", word.name));
        Ok(())
    }
}

fn fields(word: &Word) -> String {
    let fields: Vec<String> =
        word.fields.iter().map(|field| format!("{}.{field}", word.name)).collect();
    fields.join(", ")
}

/// Whether the value cannot be a truth, whatever the data.
fn is_surely_no_truth(expression: &Expr) -> bool {
    match expression {
        Expr::Literal(literal) => !matches!(literal, LiteralValue::Boolean(_)),
        Expr::List(_) | Expr::Map(_) => true,
        Expr::Call(call) => matches!(
            call.func_name.as_str(),
            operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO
                | operators::NEGATE
                | "size"
                | "int"
                | "uint"
                | "double"
                | "string"
        ),
        _ => false,
    }
}

/// A line and a column, both in characters from 1 (the column from 0 or 1: it points, and no more), as a byte.
fn byte_of(text: &str, (line, column): (isize, isize)) -> usize {
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    let inner = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
    (before + inner).min(text.len())
}

/// What may be called. There are no regular expressions: they would be compiled for each request.
const FUNCTIONS: [&str; 29] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::NOT_STRICTLY_FALSE,
    operators::IN,
    operators::HAS,
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "int",
    "uint",
    "double",
    "string",
    "bool",
];

/// Bytes; a longer one is a program.
const MAX_LENGTH: usize = 2_048;
/// How deep an expression may be: it is evaluated by recursion.
const MAX_DEPTH: usize = 64;
/// Room for the parser, bytes; taken as it is used.
const PARSER_STACK: usize = 64 << 20;
/// Loops of one expression; each goes over what a token or a head holds at most.
const MAX_LOOPS: usize = 2;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Condition, Names, Word};

    const WORDS: [Word; 3] = [
        Word { name: "request", fields: &["method", "headers"] },
        Word { name: "claims", fields: &[] },
        Word { name: "scopes", fields: &[] },
    ];

    fn holds(text: &str) -> Option<bool> {
        let condition = Condition::compile(text, &WORDS).unwrap_or_else(|bad| panic!("{bad:?}"));
        let mut request = Names::default();
        request.text("method", Some("GET"));
        request.texts("headers", [("x-team".to_owned(), "a, b".to_owned())]);
        let mut names = Names::default();
        names.names("request", request);
        names.list("scopes", ["read", "write"]);
        let claims =
            json!({ "tenant": "acme", "groups": ["x", "y"], "level": 3, "deep": { "a": [1] } });
        names.json("claims", claims.as_object().unwrap());
        condition.holds(names)
    }

    fn bad(text: &str) -> (String, usize) {
        let bad = Condition::compile(text, &WORDS).unwrap_err();
        (bad.reason, bad.at)
    }

    #[test]
    fn a_condition_is_true_or_false() {
        for (text, expected) in [
            ("claims.tenant == 'acme'", true),
            ("claims.tenant == 'other'", false),
            ("'x' in claims.groups && claims.level >= 3", true),
            ("claims.groups.exists(g, g.startsWith('y'))", true),
            ("claims.groups.all(g, g == 'y')", false),
            ("request.method == 'GET' ? 'read' in scopes : false", true),
            ("request.headers['x-team'].contains('b')", true),
            ("has(claims.tenant) && !has(claims.other)", true),
            ("claims.deep.a[0] == 1 && size(scopes) == 2", true),
            ("true", true),
        ] {
            assert_eq!(holds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_has_no_answer_is_not_true() {
        for text in [
            "claims.other == 'x'",
            "claims.level > 'x'",
            "claims.groups[9] == 'x'",
            "claims.tenant",
            "!(request.headers['none'] == 'x')",
            "1 / 0 == 1",
        ] {
            assert_eq!(holds(text), None, "{text}");
        }
    }

    #[test]
    fn unknown_names_fields_and_functions_are_found_when_it_is_compiled() {
        assert_eq!(bad("claims.a == 'b' && foo"), ("there is no `foo`".to_owned(), 19));
        assert_eq!(bad("request.path == '/'").0, "there is no `request.path`");
        assert_eq!(bad("request['method'] == 'GET'").0, "`request` stands alone");
        assert_eq!(bad("claims.a.matches('(a+)+$')").0, "there is no function `matches`");
        assert!(bad("claims.tenant = 'x'").0.starts_with("not a CEL expression: "));
        assert_eq!(bad("'text'").0, "the expression is neither true nor false");
        assert_eq!(bad("size(scopes)").0, "the expression is neither true nor false");
    }

    #[test]
    fn what_could_take_long_is_refused() {
        assert!(bad(&format!("claims.a == '{}'", "x".repeat(2_100))).0.contains("2048 bytes"));
        for text in [
            "claims.a.exists(x, claims.b.exists(y, x == y))",
            "claims.a.exists(x, x == 1) && claims.b.all(x, x == 1) && claims.c.all(x, x == 1)",
        ] {
            assert!(bad(text).0.contains("loop"), "{text}");
        }
        assert!(bad("claims.a.map(x, x + 1) == [1]").0.contains("make lists"));
        let deep = format!("{}true{}", "!(".repeat(90), ")".repeat(90));
        assert!(Condition::compile(&deep, &WORDS).is_err());
        assert!(Condition::compile(&"(".repeat(2_000), &WORDS).is_err());
        let long = ["true"; 250].join(" && ");
        let names = Names::default();
        if let Ok(condition) = Condition::compile(&long, &WORDS) {
            assert_eq!(condition.holds(names), Some(true));
        }
    }

    #[test]
    fn it_is_known_what_a_condition_looks_at() {
        let condition = Condition::compile("request.method == claims.method", &WORDS).unwrap();
        assert!(condition.mentions("claims") && condition.mentions("request.method"));
        assert!(!condition.mentions("request.headers") && !condition.mentions("scopes"));
    }
}
