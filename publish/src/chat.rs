//! Chat templates of models, rendered. A template comes from a stranger: it runs in bounded steps and depth, and sees
//! nothing but what it is given.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error as JinjaError, ErrorKind, UndefinedBehavior, Value, context};
use serde::{Deserialize, Serialize};

/// Steps that a template may take.
const FUEL: u64 = 2_000_000;
/// Deepest recursion of a template.
const RECURSION: usize = 64;
/// Longest template, in bytes.
const MAX_TEMPLATE: usize = 1 << 20;
/// Longest rendering, in bytes.
const MAX_TEXT: usize = 16 << 20;

/// A message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Text of the message.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: &str, content: &str) -> Self {
        Self {
            role: role.to_owned(),
            content: content.to_owned(),
        }
    }
}

/// A model's chat template and the special tokens that it may name.
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// The template, in Jinja.
    pub text: String,
    /// Text of the beginning-of-sequence token.
    pub bos: String,
    /// Text of the end-of-sequence token.
    pub eos: String,
}

impl Template {
    /// The template of a GGUF file's metadata, if it has one.
    pub fn of(metadata: &gguf::Metadata) -> Option<Self> {
        let text = metadata.get_str("tokenizer.chat_template")?.to_owned();
        let tokens = metadata
            .get("tokenizer.ggml.tokens")
            .and_then(gguf::Value::as_array);
        let special = |key: &str| {
            let id = metadata.get_u64(&format!("tokenizer.ggml.{key}_token_id"))?;
            let gguf::Array::String(tokens) = tokens? else {
                return None;
            };
            let token = tokens.get(usize::try_from(id).ok()?)?;
            token.to_str().map(str::to_owned)
        };
        Some(Self {
            text,
            bos: special("bos").unwrap_or_default(),
            eos: special("eos").unwrap_or_default(),
        })
    }

    /// A chat as the model sees it; with `generation`, up to where its answer begins.
    ///
    /// # Errors
    /// A template that does not parse, that fails or refuses the chat, or that never comes to an end; the template's own
    /// words where it has some.
    pub fn render(&self, messages: &[Message], generation: bool) -> Result<String, String> {
        if self.text.len() > MAX_TEMPLATE {
            return Err(format!("a chat template of more than {MAX_TEMPLATE} bytes"));
        }
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|e| e.to_string())?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<Value, JinjaError> {
                Err(JinjaError::new(ErrorKind::InvalidOperation, message))
            },
        );
        // A rendering does not depend on the day.
        environment.add_function("strftime_now", |format: String| match format.as_str() {
            "%Y" => "2024".to_owned(),
            "%Y-%m-%d" => "2024-07-26".to_owned(),
            "%B %d, %Y" => "July 26, 2024".to_owned(),
            _ => "26 Jul 2024".to_owned(),
        });
        let told = |e: JinjaError| match e.detail() {
            Some(detail) => detail.to_owned(),
            None => e.to_string(),
        };
        let text = environment
            .template_from_str(&self.text)
            .and_then(|template| {
                template.render(context! {
                    messages => Value::from(Serde(messages)),
                    add_generation_prompt => generation,
                    bos_token => self.bos.as_str(),
                    eos_token => self.eos.as_str(),
                    tools => Value::from(()),
                    documents => Value::from(()),
                })
            })
            .map_err(told)?;
        if text.len() > MAX_TEXT {
            return Err(format!("a chat of more than {MAX_TEXT} bytes"));
        }
        Ok(text)
    }

    /// The format of a prompt, with `{system_prompt}` and `{prompt}` where these go.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn prompt_format(&self) -> Result<String, String> {
        let (system, user) = (
            Message::new("system", "{system_prompt}"),
            Message::new("user", "{prompt}"),
        );
        match self.render(&[system, user.clone()], true) {
            Ok(text) if text.contains("{system_prompt}") => Ok(text),
            // Some models know no system prompt, and say so.
            _ => self.render(&[user], true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        Template {
            text: text.to_owned(),
            bos: "<s>".into(),
            eos: "</s>".into(),
        }
    }

    #[test]
    fn prompts_are_rendered() {
        let chatml = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message['content'].strip() }}\
                      <|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
        assert_eq!(
            template(chatml).prompt_format().unwrap(),
            "<|im_start|>system\n{system_prompt}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n\
             <|im_start|>assistant\n"
        );
        let no_system = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
                         {{ raise_exception('System role not supported') }}{% endif %}\
                         [INST] {{ messages[0]['content'] }} [/INST]";
        assert_eq!(
            template(no_system).prompt_format().unwrap(),
            "<s>[INST] {prompt} [/INST]"
        );
        let refused = template(no_system).render(&[Message::new("system", "x")], true);
        assert_eq!(refused.unwrap_err(), "System role not supported");
    }

    #[test]
    fn hostile_templates_end() {
        for text in [
            "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{% include '/etc/passwd' %}",
            "{{ messages.__class__.mro() }}",
            "{% for",
        ] {
            assert!(template(text).prompt_format().is_err(), "{text}");
        }
    }
}
