"""Words that tell how hard a request is, by what they tell; from general knowledge, in English.

Verbs and nouns are listed in their plain form, ``inflected`` adds the others; a phrase is two
words. None of them is there to recognise a benchmark by the way in which its prompts begin.
"""

from collections.abc import Iterator

_VERBS: dict[str, str] = {
    "prove": "prove derive deduce infer disprove formalize verify axiomatize",
    "reason": (
        "analyze analyse evaluate justify assess critique argue reason interpret reconcile "
        "diagnose investigate determine conclude imply hypothesize explain compare contrast "
        "examine distinguish reflect debate"
    ),
    "design": (
        "design architect optimize optimise refactor debug implement simulate formulate devise "
        "plan schedule negotiate forecast estimate model integrate migrate troubleshoot"
    ),
    "compute": (
        "calculate compute solve simplify factor integrate differentiate evaluate minimize "
        "maximize approximate convert multiply divide subtract graph"
    ),
    "easy": "translate rewrite rephrase paraphrase summarize summarise proofread list define name",
    "compose": "compose draft imagine brainstorm pretend roleplay",
}

_NOUNS: dict[str, str] = {
    "prove": "proof theorem lemma corollary contradiction induction axiom conjecture",
    "reason": "argument assumption implication inference tradeoff rationale hypothesis premise",
    "math": (
        "equation polynomial integral derivative matrix vector probability permutation variance "
        "logarithm exponent coefficient triangle polygon angle hypotenuse radius circumference "
        "perimeter diagonal prime divisor remainder multiple fraction decimal quotient sequence "
        "limit eigenvalue determinant modulus factorial hyperbola parabola ellipse slope "
        "intercept quadratic inequality parameter root sum product mean median deviation "
        "regression confidence sample digit integer"
    ),
    "quantity": (
        "total ratio percent percentage half third quarter dozen amount average speed distance "
        "profit discount price cost salary interest rate hour minute mile"
    ),
    "code": (
        "algorithm array recursion regex sql python javascript typescript java html css json api "
        "compiler thread mutex pointer stack queue heap hashmap dictionary tuple string boolean "
        "loop function method class exception runtime database query schema kubernetes docker "
        "server endpoint bug unittest integer list element substring palindrome"
    ),
    "law": (
        "plaintiff defendant statute court contract liability negligence tort jurisdiction appeal "
        "verdict jury testimony constitution amendment felony lease mortgage trustee easement "
        "treaty lawsuit attorney prosecutor hearsay landlord tenant covenant deed murder robbery "
        "burglary homicide buyer seller creditor sovereignty"
    ),
    "medicine": (
        "patient diagnosis symptom syndrome biopsy artery disease infection antibiotic dose "
        "pathogen tumor lesion therapy surgery physician blood pressure serum fever nausea "
        "carcinoma gene chromosome allele mutation enzyme receptor neuron hormone virus vaccine"
    ),
    "science": (
        "molecule electron proton orbital isotope enthalpy entropy equilibrium oxidation acid "
        "ion momentum velocity acceleration torque voltage current resistor capacitor wavelength "
        "frequency photon quantum thermodynamics kinetics polymer catalyst solution mole pressure "
        "circuit magnet relativity"
    ),
    "finance": (
        "inflation elasticity depreciation amortization equity liability asset dividend bond "
        "portfolio audit auditor revenue expense ledger inventory tax monopoly gdp tariff "
        "valuation cashflow shareholder accrual"
    ),
    "philosophy": (
        "utilitarian deontology consequentialism epistemology metaphysics morality ethics virtue "
        "fallacy syllogism proposition quantifier predicate maxim imperative kant hume"
    ),
    "easy": "capital synonym antonym nickname",
    "compose": "poem story essay haiku limerick email song screenplay slogan blog letter speech",
    "puzzle": "puzzle riddle clue scenario constraint arrangement neighbor suspect",
}

_PLAIN: dict[str, str] = {
    "prove": "qed hence thus whence",
    "reason": "why whether implies suppose assume assuming therefore because according best",
    "constraint": (
        "must exactly only without unless except least most every each both neither either "
        "distinct different consecutive respectively adjacent between cannot always never ensure "
        "provided given"
    ),
    "quantity": "many much per twice thrice remaining left altogether more fewer less",
    "math": "sin cos tan log ln mod gcd lcm frac sqrt cdot begin boxed positive negative",
    "code": "def return import const var async null int str printf select async none true false",
    "easy": "hi hello hey thanks thank please ok okay yes bye",
    "factoid": "who whom whose when where born invented founded located famous nickname",
}

_PHRASES: dict[str, str] = {
    "prove": "show that,prove that,if and,only if,for all,there exists,such that,suppose that",
    "reason": (
        "step by,explain why,explain how,pros and,trade offs,root cause,compare and,in detail,"
        "how would,what if,which of,most likely,least likely,best describes,would be"
    ),
    "constraint": (
        "at least,at most,no more,no less,less than,more than,greater than,must be,must not,"
        "do not,followed by,subject to,as long,in order,the following,following conditions"
    ),
    "quantity": "how many,how much,how long,how far,how old,times as,as many,as much,in total",
    "code": "time complexity,data structure,unit test,stack trace,source code,big o,linked list",
    "law": "liable for,motion to,common law,due process,strict liability,statute of,prima facie",
    "medicine": "year old,blood pressure,side effects,physical examination,laboratory studies",
    "math": "find the,value of,number of,real numbers,area of,standard deviation,in terms",
    "factoid": "what is,what was,what are,in which,in what,what year,which country,name the",
    "easy": "good morning,how are,thank you,fix the,correct the",
    "compose": "write a,write an,write me,act as,imagine you,you are,tone of",
}


def inflected(word: str, *, is_verb: bool) -> tuple[str, ...]:
    """A word and its regular forms; some that nobody writes do no harm."""
    stem = word[:-1] if word.endswith("e") else word
    plural = word[:-1] + "ies" if word.endswith("y") and word[-2:-1] not in "aeiou" else word + "s"
    forms = (word, plural, f"{word}es")
    return (*forms, f"{stem}ed", f"{stem}ing") if is_verb else forms


def lexicon() -> dict[str, str]:
    """Every word and phrase, with what it tells; what is listed twice tells the first."""
    listed = [
        *((form, cue) for cue, word in _words(_VERBS) for form in inflected(word, is_verb=True)),
        *((form, cue) for cue, word in _words(_NOUNS) for form in inflected(word, is_verb=False)),
        *((word, cue) for cue, word in _words(_PLAIN)),
        *((phrase, cue) for cue, line in _PHRASES.items() for phrase in line.split(",")),
    ]
    return dict(reversed(listed))


def _words(table: dict[str, str]) -> Iterator[tuple[str, str]]:
    return ((cue, word) for cue, line in table.items() for word in line.split())
