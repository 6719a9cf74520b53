"""MedCalc-mini: medical calculation with worked steps, in the manner of MedCalc-Bench.

Source: MedCalc-Bench (Khandekar et al. 2024, arXiv 2406.12036), through the calculators of the package `medcalc-bench`.
The notes are generated: a patient, the inputs of one calculator and mostly one fact that does not matter. The response
is made of the package's own words: of a score, each criterion that adds points with its sum; of an equation, the
line with the values plugged in; then the package's conclusion and a last line `Answer: <value>`. Formulas, criteria
lists, criteria that leave a score as it is, the words around a sum and the units in these lines are left out.

It is easier than MedCalc-Bench on purpose, so that a small model can learn something from few examples: short notes,
round inputs, the rule told with the question, half of the calculators scores of mostly 0 to 3. The scores take turns,
as far as the inputs of a split allow: 1 is the most common and makes up four in ten.

A question belongs to the test split when a hash of its calculator and inputs says so (one in four), whatever the note.

Calculators and inputs keep to where the package is right. Known there and kept out: SIRS counts a slow heart too,
Glasgow-Blatchford adds other points than it says, the worked serum osmolality shows BUN for glucose, over 20 kg the
worked maintenance fluid shows another coefficient than it uses, and CURB-65 calls a rate of 30 greater than 30.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from medcalc.anion_gap import compute_anion_gap_explanation
from medcalc.calcium_correction import calculate_corrected_calcium_explanation
from medcalc.cardiac_risk_index import compute_cardiac_index_explanation
from medcalc.centor_score import compute_centor_score_explanation
from medcalc.cha2ds2_vasc_score import generate_cha2ds2_vasc_explanation
from medcalc.conception_date import add_2_weeks_explanation
from medcalc.curb_65 import curb_65_explanation
from medcalc.delta_gap import compute_delta_gap_explanation
from medcalc.feverpain import compute_fever_pain_explanation
from medcalc.has_bled_score import compute_has_bled_score_explanation
from medcalc.ldl_calculated import compute_ldl_explanation
from medcalc.maintenance_fluid_calc import maintenance_fluid_explanation
from medcalc.mean_arterial_pressure import mean_arterial_pressure_explanation
from medcalc.perc_rule import compute_perc_rule_explanation
from medcalc.sch import compute_sodium_correction_hyperglycemia_explanation
from medcalc.wells_criteria_dvt import compute_wells_criteria_dvt_explanation

from tradeoff.domains import Domain, Example, Metric, Outcome, Size, Split
from tradeoff.domains._medcalc_rules import Kind, is_right, limits, read_answer
from tradeoff.draws import generated


@dataclass(frozen=True)
class MedCalcMini(Domain):
    """Worked medical calculation on generated notes, scored by MedCalc-Bench's rules."""

    kind = "medcalc_mini"
    size = Size(train=10_000, test=10_000, prompt=95, response=41)
    version = "1.1"
    metrics = (Metric("accuracy"),)
    max_new_tokens = 104

    def examples(self, split: Split, count: int | None, seed: int, files: Mapping[str, Path]) -> list[Example]:
        """See `Domain.examples`. The calculators take turns, so a small draw covers all of them evenly."""
        return generated(self.kind, count, lambda index, seen: _example(split, index, seed, seen))

    def score(self, response: str, answer: Mapping[str, Any]) -> Outcome:
        """See `Domain.score`. Needs the keys `kind`, `lower` and `upper` of `answer`."""
        found = read_answer(response, answer["kind"])
        if found is None:
            return Outcome({"accuracy": 0.0}, invalid=True)
        return Outcome({"accuracy": float(is_right(found, answer["kind"], answer["lower"], answer["upper"]))})


@dataclass(frozen=True)
class _Quantity:
    """A measured value from `low` in steps up to `high`, in the note as "sodium 140 mEq/L"."""

    key: str
    label: str
    low: float
    high: float
    unit: str
    step: float = 1

    def draw(self, rng: random.Random) -> tuple[float, str]:
        value = self.low + self.step * rng.randint(0, round((self.high - self.low) / self.step))
        return (round(value, 1) if isinstance(value, float) else value), self.unit

    def tell(self, value: tuple[float, str]) -> str:
        number, unit = value
        return f"{self.label} {number} {_NOTED_UNITS.get(unit, unit)}".rstrip()


@dataclass(frozen=True)
class _Count:
    """A whole number, in the note as the label tells, for the package without a unit."""

    key: str
    label: str
    low: int
    high: int

    def draw(self, rng: random.Random) -> int:
        return rng.randint(self.low, self.high)

    def tell(self, value: int) -> str:
        return self.label.format(value)


@dataclass(frozen=True)
class _Finding:
    """Something present or absent; its absence is told as "no" and the label, or as `absent`."""

    key: str
    label: str
    absent: str = ""

    def draw(self, rng: random.Random) -> bool:
        return rng.random() < 0.4

    def tell(self, value: bool) -> str:
        return self.label if value else self.absent or f"no {self.label}"


@dataclass(frozen=True)
class _Date:
    """A day of the years 2015 to 2024, MM/DD/YYYY."""

    key: str
    label: str

    def draw(self, rng: random.Random) -> str:
        day = datetime.date(2015, 1, 1) + datetime.timedelta(days=rng.randrange(3653))
        return day.strftime("%m/%d/%Y")

    def tell(self, value: str) -> str:
        return f"{self.label} {value}"


_Input = _Quantity | _Count | _Finding | _Date


@dataclass(frozen=True)
class _Calculator:
    """One calculator of the package.

    Attributes:
        name: For the reports; also the identity of its questions.
        explain: The package's function, inputs to {"Explanation", "Answer"}.
        asks: What is asked for, with its unit.
        hint: The rule, told with the question: a small model does not know it, and few examples do not teach it.
        kind: How the answer is scored.
        inputs: What the note tells,
        told: and how many of them, drawn anew for every note; all if None. The package takes the others as absent.
        patient: Which of "age" and "sex" the calculator uses besides; the others do not matter to the answer.
        ages: Youngest and oldest patient.
        sexes: Of these patients.
    """

    name: str
    explain: Callable[[dict[str, Any]], dict[str, Any]]
    asks: str
    hint: str
    kind: Kind
    inputs: tuple[_Input, ...]
    told: int | None = None
    patient: tuple[str, ...] = ()
    ages: tuple[int, int] = (18, 89)
    sexes: tuple[str, ...] = ("Female", "Male")


# Units of the package that a note writes in another way.
_NOTED_UNITS = {"degrees celsius": "°C", "mm Hg": ""}

_HYPERTENSION = _Finding("hypertension", "hypertension")
_STROKE = _Finding("stroke", "prior stroke")
_HEART_FAILURE = "heart failure"
_GAP = (
    _Quantity("sodium", "sodium", 140, 150, "mEq/L", 5),
    _Quantity("chloride", "chloride", 90, 105, "mEq/L", 5),
    _Quantity("bicarbonate", "bicarbonate", 8, 20, "mEq/L", 2),
)

_CALCULATORS = (
    _Calculator(
        name="Anion gap",
        explain=compute_anion_gap_explanation,
        asks="anion gap in mEq/L",
        hint="It is sodium - (chloride + bicarbonate).",
        kind="decimal",
        inputs=_GAP,
    ),
    _Calculator(
        name="CURB-65",
        explain=curb_65_explanation,
        asks="CURB-65 score",
        hint="1 point each: confusion, BUN > 19, respiratory rate >= 30, diastolic BP <= 60, age >= 65.",
        kind="integer",
        inputs=(
            _Finding("confusion", "confusion"),
            _Quantity("bun", "BUN", 10, 30, "mg/dL", 2),
            _Quantity("respiratory_rate", "respiratory rate", 16, 40, "", 4),
            _Quantity("sys_bp", "systolic BP", 90, 140, "mm Hg", 5),  # Only the diastolic one adds a point.
            _Quantity("dia_bp", "diastolic BP", 50, 75, "mm Hg", 5),
        ),
        patient=("age",),
        ages=(40, 89),
    ),
    _Calculator(
        name="Corrected calcium",
        explain=calculate_corrected_calcium_explanation,
        asks="albumin-corrected calcium in mg/dL",
        hint="It is 0.8 * (4.0 - albumin) + calcium.",
        kind="decimal",
        inputs=(
            _Quantity("albumin", "albumin", 2.0, 3.5, "g/dL", 0.5),
            _Quantity("calcium", "calcium", 7.0, 10.0, "mg/dL", 0.2),
        ),
    ),
    _Calculator(
        name="CHA2DS2-VASc",
        explain=generate_cha2ds2_vasc_explanation,
        asks="CHA2DS2-VASc score",
        hint="1 point for each criterion met; 2 for a stroke or age >= 75.",
        kind="integer",
        inputs=(
            _Finding("chf", _HEART_FAILURE),
            _HYPERTENSION,
            _STROKE,
            _Finding("diabetes", "diabetes"),
        ),
        patient=("age", "sex"),
        ages=(45, 89),
    ),
    _Calculator(
        name="LDL cholesterol",
        explain=compute_ldl_explanation,
        asks="LDL cholesterol in mg/dL",
        hint="It is total cholesterol - HDL - triglycerides / 5.",
        kind="decimal",
        inputs=(
            _Quantity("total_cholestrol", "total cholesterol", 180, 300, "mg/dL", 10),
            _Quantity("hdl_cholestrol", "HDL", 30, 70, "mg/dL", 10),
            _Quantity("triglycerides", "triglycerides", 50, 350, "mg/dL", 50),
        ),
    ),
    _Calculator(
        name="Centor score",
        explain=compute_centor_score_explanation,
        asks="Centor score",
        hint="1 point for each criterion met.",
        kind="integer",
        inputs=(
            _Quantity("temperature", "temperature", 36.5, 40.0, "degrees celsius", 0.5),
            _Finding("cough_absent", "no cough", "cough"),
            _Finding("tender_lymph_nodes", "tender neck nodes"),
            _Finding("exudate_swelling_tonsils", "tonsil exudate"),
        ),
        patient=("age",),
        ages=(5, 44),
    ),
    _Calculator(
        name="Maintenance fluid",
        explain=maintenance_fluid_explanation,
        asks="hourly maintenance fluid in mL/hr",
        hint="It is 4 mL/kg up to 10 kg and 2 mL/kg above.",
        kind="decimal",
        inputs=(_Quantity("weight", "weight", 7.0, 20.0, "kg", 0.5),),
        ages=(1, 5),
    ),
    _Calculator(
        name="FeverPAIN",
        explain=compute_fever_pain_explanation,
        asks="FeverPAIN score",
        hint="1 point for each criterion met.",
        kind="integer",
        inputs=(
            _Finding("fever_24_hours", "fever in the past 24 hours"),
            _Finding("cough_coryza_absent", "no cough or coryza", "cough"),
            _Finding("symptom_onset", "onset 2 days ago", "onset 5 days ago"),
            _Finding("purulent_tonsils", "purulent tonsils"),
            _Finding("severe_tonsil_inflammation", "severe tonsil inflammation"),
        ),
        told=4,
        ages=(5, 60),
    ),
    _Calculator(
        name="Mean arterial pressure",
        explain=mean_arterial_pressure_explanation,
        asks="mean arterial pressure in mm Hg",
        hint="It is 2/3 of the diastolic and 1/3 of the systolic BP.",
        kind="decimal",
        inputs=(  # Multiples of 15, so that the thirds are whole.
            _Quantity("sys_bp", "systolic BP", 105, 195, "mm Hg", 15),
            _Quantity("dia_bp", "diastolic BP", 45, 90, "mm Hg", 15),
        ),
    ),
    _Calculator(
        name="Revised cardiac risk index",
        explain=compute_cardiac_index_explanation,
        asks="Revised Cardiac Risk Index",
        hint="1 point for each criterion met.",
        kind="integer",
        inputs=(
            _Finding("elevated_risk_surgery", "elevated risk surgery"),
            _Finding("ischemetic_heart_disease", "ischemic heart disease"),
            _Finding("congestive_heart_failure", _HEART_FAILURE),
            _Finding("pre_operative_insulin_treatment", "insulin treatment"),
            _Quantity("pre_operative_creatinine", "creatinine", 0.5, 3.5, "mg/dL", 0.5),
        ),
        told=4,
    ),
    _Calculator(
        name="Conception date",
        explain=add_2_weeks_explanation,
        asks="estimated date of conception",
        hint="It is 2 weeks after the last menstrual period.",
        kind="date",
        inputs=(_Date("menstrual_date", "last menstrual period"),),
        ages=(18, 42),
        sexes=("Female",),
    ),
    _Calculator(
        name="HAS-BLED",
        explain=compute_has_bled_score_explanation,
        asks="HAS-BLED score",
        hint="1 point for each criterion met.",
        kind="integer",
        inputs=(
            _Count("alcoholic_drinks", "{} drinks a week", 0, 14),
            _HYPERTENSION,
            _STROKE,
            _Finding("prior_bleeding", "prior bleeding"),
            _Finding("labile_inr", "labile INR"),
        ),
        patient=("age",),
        ages=(45, 89),
    ),
    _Calculator(
        name="Delta gap",
        explain=compute_delta_gap_explanation,
        asks="delta gap in mEq/L",
        hint="It is sodium - (chloride + bicarbonate) - 12.",
        kind="decimal",
        inputs=_GAP,
    ),
    _Calculator(
        name="PERC rule",
        explain=compute_perc_rule_explanation,
        asks="number of PERC criteria met",
        hint="1 point for each criterion met.",
        kind="integer",
        inputs=(
            _Quantity("heart_rate", "heart rate", 60, 130, "", 5),
            _Quantity("oxygen_sat", "SpO2", 90, 99, "%"),
            _Finding("unilateral_leg_swelling", "unilateral leg swelling"),
            _Finding("hemoptysis", "hemoptysis"),
            _Finding("recent_surgery_or_trauma", "recent surgery"),
        ),
        patient=("age",),
        ages=(25, 74),
    ),
    _Calculator(
        name="Corrected sodium",
        explain=compute_sodium_correction_hyperglycemia_explanation,
        asks="glucose-corrected sodium in mEq/L",
        hint="It is sodium + 0.024 * (glucose - 100).",
        kind="decimal",
        inputs=(
            _Quantity("sodium", "sodium", 120, 145, "mEq/L"),
            _Quantity("glucose", "glucose", 200, 600, "mg/dL", 50),
        ),
    ),
    _Calculator(
        name="Wells DVT",
        explain=compute_wells_criteria_dvt_explanation,
        asks="Wells score for DVT",
        hint="1 point for each criterion met.",
        kind="integer",
        inputs=(
            _Finding("active_cancer", "active cancer"),
            _Finding("calf_swelling_3cm", "calf swelling >3 cm"),
            _Finding("leg_swollen", "entire leg swollen", "leg not swollen"),
            _Finding("pitting_edema_on_symptomatic_leg", "pitting edema"),
            _Finding("previous_dvt", "previous DVT"),
            _Finding("collateral_superficial_veins", "collateral veins"),
        ),
        told=4,
    ),
)

_SYSTEM = {"role": "system", "content": "You are a medical calculator."}

_NOTES = ("{Patient}: {facts}.", "Note on {patient}: {facts}.", "Findings in {patient}: {facts}.")

# Facts that no calculator above uses.
_ASIDES = (
    "migraine",
    "eczema",
    "hay fever",
    "wrist fracture",
    "penicillin allergy",
    "psoriasis",
    "shingles",
    "gout",
    "asthma",
    "reading glasses",
)

_FORMS: dict[Kind, str] = {"decimal": "<number>", "integer": "<whole number>", "date": "<MM/DD/YYYY>"}

_SCORES = (1, 0, 2, 1, 3, 1, 2, 0, 1, 2)  # Asked for in turn: most patients meet few criteria.

# About a token of SmolLM2. Longer responses are drawn again, so that none has more than 95 tokens.
_PIECE = re.compile(r"[^\W\d]+|\d| (?=\d)|[^\w\s]|\n")
_MAX_PIECES = 88
_TRIES = 1000


def _example(split: Split, index: int, seed: int, seen: set[str]) -> Example:
    """Draws the example of that index; `seen` holds the questions before it and gets this one."""
    rng = random.Random(f"{seed}-{split}-{index}")
    calculator = _CALCULATORS[index % len(_CALCULATORS)]
    wanted = _SCORES[(index // len(_CALCULATORS) + index) % len(_SCORES)]
    for attempt in range(_TRIES):
        inputs = _inputs(calculator, rng)
        question = _question(calculator, inputs, rng)
        if _split(calculator, inputs) != split or question in seen:
            continue
        worked = calculator.explain({key: inputs[key] for key in _used(calculator, inputs)})
        value = worked["Answer"]
        response = "\n".join([*_steps(worked["Explanation"]), f"Answer: {value}"])
        if len(_PIECE.findall(response)) > _MAX_PIECES:
            continue
        # A split may not have the wanted score: there is one way to have no criterion at all.
        if calculator.kind == "integer" and value != wanted and attempt < _TRIES // 2:
            continue
        seen.add(question)
        lower, upper = limits(value, calculator.kind)
        return Example(
            id=f"{split}-{index:05d}",
            messages=(_SYSTEM, {"role": "user", "content": question}),
            response=response,
            answer={
                "calculator": calculator.name,
                "kind": calculator.kind,
                "value": value,
                "lower": lower,
                "upper": upper,
            },
        )
    raise ValueError(f"{MedCalcMini.kind} has no new {calculator.name} question; ask for at most {index} examples")


def _inputs(calculator: _Calculator, rng: random.Random) -> dict[str, Any]:
    patient = {"age": (rng.randint(*calculator.ages), "years"), "sex": rng.choice(calculator.sexes)}
    told = rng.sample(calculator.inputs, calculator.told or len(calculator.inputs))
    return patient | {i.key: i.draw(rng) for i in told}


def _used(calculator: _Calculator, inputs: Mapping[str, Any]) -> list[str]:
    return [key for key in (*calculator.patient, *(i.key for i in calculator.inputs)) if key in inputs]


def _split(calculator: _Calculator, inputs: Mapping[str, Any]) -> Split:
    """The split these inputs belong to in every draw."""
    canonical = json.dumps([calculator.name, [[key, inputs[key]] for key in sorted(_used(calculator, inputs))]])
    return "test" if hashlib.sha256(canonical.encode()).digest()[0] % 4 == 0 else "train"


def _question(calculator: _Calculator, inputs: Mapping[str, Any], rng: random.Random) -> str:
    facts = [i.tell(inputs[i.key]) for i in calculator.inputs if i.key in inputs]
    if rng.random() < 0.7:
        aside = rng.choice(_ASIDES)
        facts.append(aside)
    rng.shuffle(facts)
    patient = _patient(inputs["age"][0], inputs["sex"])
    note = rng.choice(_NOTES).format(
        patient=patient,
        Patient=patient.capitalize(),
        facts=", ".join(facts),
    )
    ending = f"Reason, then end with `Answer: {_FORMS[calculator.kind]}`."
    return f"{note}\nWhat is the {calculator.asks}? {calculator.hint} {ending}"


def _patient(age: int, sex: str) -> str:
    article = "an" if age in (8, 11, 18) or age in range(80, 90) else "a"
    adult, child = {"Female": ("woman", "girl"), "Male": ("man", "boy")}[sex]
    return f"{article} {age}-year-old {adult if age >= 18 else child}"


# A sentence that adds to a score: its sum, and what it says before the words that lead to the sum.
_SUM = re.compile(r"([0-9]+ \+ [0-9]+ = [0-9]+)\.$")
_CRITERION = re.compile(r"(.*?)(?:,? (?:and )?so |, (?:we|one|two|1) |\.$)")

# One where the sentence before it names the criterion, and one that comes between.
_POINTS_BACK = re.compile(r"This means|Hence|By Well's|Because at least one of these")
_RULE = "For a point to be added, "

# What only says that the criterion is there.
_PRESENCE = re.compile(
    r"""^(?:Because\ )?
    (?:'?the\ patient(?:'s|\ is\ reported\ to\ have|\ note\ reports|\ has)[ ]
      |(?:from\ the\ patient's\ note,\ )?the\ issue,\ |the\ )?
    |,?'?,?\ (?:as|is|is\ reported\ to\ be|to\ be)\ '?present'?(?:\ for\ the\ patient(?:\ note)?)?$
    |'""",
    re.VERBOSE | re.IGNORECASE,
)

# A sentence that computes: what follows the words for "plugging in", and the units in it.
_FORMULA = re.compile(r"(?:.* (?:we get|gives? us|fluid is) )?(.* = -?[0-9.]+(?: (?!points?\b).*)?\.)$")
_UNITS = re.compile(
    r" (?:mEq/L|mg/dL|g/dL|mm Hg|mL/kg/hr|mL/hr|kg|years|(?:beats|breaths) per minute|degrees Celsius)(?![\w/])"
)


def _steps(explanation: str) -> list[str]:
    """What a worked explanation computes, in its own words, and its conclusion."""
    sentences = [" ".join(s.split()) for s in re.split(r"(?<=\.)\s+|\n", explanation) if s.strip()]
    steps = []
    for before, sentence in pairwise(s for s in sentences[:-1] if not s.startswith(_RULE)):
        if points := _SUM.search(sentence):
            criterion = _CRITERION.match(before if _POINTS_BACK.match(sentence) else sentence)
            assert criterion, sentence
            steps.append(f"{_capital(_UNITS.sub('', _PRESENCE.sub('', criterion[1])))}: {points[1]}.")
        elif formula := _FORMULA.match(sentence):
            steps.append(_UNITS.sub("", formula[1]))
    return [*steps, _capital(sentences[-1].removeprefix("Hence, "))]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
