"""XLM-RoBERTa (Conneau et al. 2020, arXiv:1911.02116) and CamemBERT (Martin et al. 2020, arXiv:1911.03894): RoBERTa
with a unigram tokenizer. They are written as RoBERTa.
"""

import dataclasses

from kerasformer.families import roberta

FAMILY = dataclasses.replace(roberta.FAMILY, model_type="xlm-roberta", class_name="XLMRoberta", tokenizer=None)
CAMEMBERT = dataclasses.replace(FAMILY, model_type="camembert", class_name="Camembert")
