"""Drafts: words by a language model, linted, and never sent before a person approved them.

Belongs here: the prompt with the brand's voice, reading the answer, saving a draft and its review.
Keep out: rendering and lint (`copy.py`), approval (`reviews.py`).
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from activations import copy, reviews, variants
from activations.programs import Arm, Program
from warehouse import Warehouse
from warehouse.settings import BrandSettings, SecretSettings

# A prompt in, the model's text out.
Writer = Callable[[str], str]
SECONDS = 60.0


class DraftError(RuntimeError):
    """A model that did not answer, or not with words in the asked form."""


def open_writer(secrets: SecretSettings) -> Writer | None:
    """A writer on any OpenAI-compatible server; None when neither key nor address is set."""
    if secrets.openai_api_key is None and secrets.llm_base_url is None:
        return None
    import openai

    # Servers of one's own often want no key, but the client wants one to send.
    key = secrets.openai_api_key.get_secret_value() if secrets.openai_api_key else "none"
    client = openai.OpenAI(api_key=key, base_url=secrets.llm_base_url, timeout=SECONDS)

    def write(prompt: str) -> str:
        try:
            answer = client.chat.completions.create(
                model=secrets.llm_model,
                messages=[{"role": "user", "content": prompt}],
                response_format={"type": "json_object"},
            )
        except openai.OpenAIError as error:
            raise DraftError(
                f"the language model did not answer: {type(error).__name__}"
            ) from error
        return answer.choices[0].message.content or ""

    return write


def draft(
    warehouse: Warehouse,
    program: Program,
    brand: BrandSettings,
    writer: Writer,
    as_of: datetime,
    personas: Sequence[dict[str, Any]] = (),
) -> int:
    """One draft per arm (and persona: persona_id, name, description) that has none; the count.

    A slot with a draft, an approved or a rejected variant of a model is left alone, so running
    again asks nobody. Drafts get a review; the lint's findings are kept with them.
    """
    taken = {
        (row["arm"], row["persona_id"])
        for row in warehouse.rows(
            "select arm, persona_id from delivery.copy_variants"
            " where program = %(program)s and origin = 'llm'",
            program=program.program,
        )
    }
    rows = []
    for persona in personas or [{"persona_id": None}]:
        for arm in program.arms:
            if (arm.name, persona["persona_id"]) in taken:
                continue
            words = _words(writer(prompt(program, arm, brand, persona)), arm)
            words["persona_id"] = persona["persona_id"]
            made = variants.variant(program.program, arm.name, arm.channel, words)
            found = copy.lint(made.subject, made.body, arm, program.program, brand)
            rows.append(variants.row_of(made, "llm", found, "draft", None))
    if not rows:
        return 0
    with warehouse.transaction() as connection:
        table = variants.table(rows)
        count = warehouse.insert_missing(
            "delivery.copy_variants", table, ["variant_id"], connection
        )
        reviews.request(warehouse, "copy", [row["variant_id"] for row in rows], as_of, connection)
    return count


LENGTHS = {
    "email": "A subject under 60 characters and two or three short paragraphs, parted by blank"
    " lines; then one line '-> label' for the button.",
    "sms": "One text of at most 120 characters before filling, plain GSM letters, ending with"
    " 'Reply STOP to opt out'. No subject.",
    "push": "One sentence of at most 100 characters before filling. No subject and no link.",
    "whatsapp": "One text of at most 300 characters before filling, ending with"
    " 'Reply STOP to opt out'. No subject.",
}


def prompt(program: Program, arm: Arm, brand: BrandSettings, persona: dict[str, Any]) -> str:
    """What the model is told. It learns of no person: only of the brief, the arm and a persona."""
    offer = (
        "State the offer as {{ offer_percent }}% with the code {{ offer_code }}."
        if arm.offer_percent
        else "There is no offer: promise none and write no percentage."
    )
    reader = f"The reader: {persona['name']}, {persona['description']}" if "name" in persona else ""
    return "\n".join(
        [
            f"Write for the brand {brand.name}. Its voice: {brand.voice}",
            f"Purpose: {program.purpose} {program.brief.strip()}",
            f"Theme: {arm.theme}. {offer} {reader}".strip(),
            LENGTHS[arm.channel],
            "Merge fields, written exactly so: {{ first_name }}, {{ brand }}, {{ item }},"
            " {{ link }} (texts only). No other fields, no addresses, no links of your own.",
            'Answer with JSON only: {"subject": "…" or null, "body": "…"}',
        ]
    )


def _words(answer: str, arm: Arm) -> dict[str, Any]:
    try:
        told = json.loads(answer)
    except ValueError as error:
        raise DraftError(f"arm {arm.name}: the model's answer is no JSON") from error
    if not isinstance(told, dict) or not isinstance(told.get("body"), str) or not told["body"]:
        raise DraftError(f"arm {arm.name}: the model's answer has no body")
    subject = told.get("subject") if arm.channel == "email" else None
    return {"subject": subject if isinstance(subject, str) else None, "body": told["body"]}
