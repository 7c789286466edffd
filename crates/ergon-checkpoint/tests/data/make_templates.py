"""Renders the chat templates in template/ with the reference implementation, for tests/template.rs.

    pip install transformers==5.5.4 jinja2==3.1.6
    python make_templates.py

The templates are ours, in the shape of the published ones. The date that `strftime_now` gives is fixed.
"""

import datetime
import json
import pathlib

import transformers.utils.chat_template_utils as chat

HERE = pathlib.Path(__file__).parent / "template"


class FixedDate(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 3, 7, 14, 5, 9)


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


CONVERSATIONS = [
    [user("Where is the exit?")],
    [system("You drive."), user("Left or right?"), assistant("Left."), user("Why?\n")],
    [user("  spaces around  "), assistant("<think>\nlong thought\n</think>\n\n  Yes. "), user("前方路口左转 🚗 \"quoted\" & <b>")],
    [user("a"), assistant("<think>\n\nhm</think>\nb"), user("c"), assistant("<think>x\n</think>\n\nd\n")],
    [user("two"), user("in a row")],
    [system("one"), system("two"), user("hello"), assistant("")],
    [assistant("I begin."), user("fine")],
    [user("")],
]


def main():
    chat.datetime = FixedDate
    expected = []
    for path in sorted(HERE.glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        for messages in CONVERSATIONS:
            for add_generation_prompt in (False, True):
                for thinking in (None, False, True) if path.stem == "qwen3" else (None,):
                    extra = {} if thinking is None else {"enable_thinking": thinking}
                    case = {"template": path.stem, "messages": messages, "add_generation_prompt": add_generation_prompt, **extra}
                    try:
                        rendered, _ = chat.render_jinja_template(
                            [messages], chat_template=template, add_generation_prompt=add_generation_prompt,
                            bos_token="<s>", eos_token="</s>", **extra,
                        )
                        case["text"] = rendered[0]
                    except Exception as error:
                        case["error"] = str(error)
                    expected.append(case)
    with open(HERE / "expected.json", "w", encoding="utf-8") as file:
        json.dump(expected, file, ensure_ascii=False, indent=0)
        file.write("\n")
    print(f"{len(expected)} cases, {sum('error' in case for case in expected)} refused: {sorted({case['error'] for case in expected if 'error' in case})}")


if __name__ == "__main__":
    main()
